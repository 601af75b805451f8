/**
 * Base pages for the hot path. How many are read at once follows from how many of the last ones were of use: where every
 * page is asked for the steps grow to a MiB, where only a few of them are they stay small.
 */

import type { Core } from "../../src/core.ts";
import type { BaseReader } from "../../src/delta/change-encoder.ts";
import type { BasePages } from "../../src/delta/page-decoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { GenerationContent } from "../store/generation-reader.ts";

const windowPages = 256;
const fewestPages = 2;

/** A window over the content of a base, or over zeroes where there is no base. */
export class BaseWindow implements BaseReader, BasePages {
  private readonly core: Core;
  private readonly content: GenerationContent | null;
  private readonly window: number;
  private readonly totalPages: number;
  private first = 0;
  private count = 0;
  /** How often a page in the window was asked for. */
  private uses = 0;

  /**
   * `skew` is added to the window's address: compare kernels run faster when their inputs do not share
   * the same offset modulo 4096.
   */
  constructor(core: Core, content: GenerationContent | null, skew = 2048) {
    this.core = core;
    this.content = content;
    this.totalPages = content?.geometry.totalPages ?? 0;
    const block = core.allocate((windowPages + 2) * pageBytes);
    this.window = Math.ceil(block / pageBytes) * pageBytes + skew;
  }

  basePage(page: number): number {
    if (page < this.first || page >= this.first + this.count) this.load(page);
    this.uses++;
    return this.window + (page - this.first) * pageBytes;
  }

  readBasePage(page: number, target: number): void {
    if (this.content === null) {
      this.core.bytes().fill(0, target, target + pageBytes);
      return;
    }
    const from = this.basePage(page);
    this.core.bytes().copyWithin(target, from, from + pageBytes);
  }

  private load(page: number): void {
    if (this.content === null) throw new Error("there is no base to read");
    const isNext = page >= this.first && page < this.first + this.count + windowPages;
    const useful = isNext ? Math.min(2 * this.uses, windowPages) : 0;
    const count = Math.min(Math.max(useful, fewestPages), this.totalPages - page);
    // Forgotten first: a read that fails must not leave half of a window behind.
    this.count = 0;
    this.uses = 0;
    this.content.readPages(page, count, this.window);
    this.first = page;
    this.count = count;
  }
}
