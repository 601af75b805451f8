/** Contents of a generation's pages, read through the chain under it. */

import { pageBytes } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import type { Geometry } from "../generation/geometry.ts";
import { type GenerationFiles, type OpenedFile, openInput, pathIn } from "./generation-files.ts";
import { bitOf } from "./page-bits.ts";
import { isImmediate, readFully } from "./random-access.ts";

/** A generation of a chain. */
export interface ChainLevel {
  readonly files: GenerationFiles;
  /** Pages that its image answers for; null: all of them, it is complete. */
  readonly dirty: Uint8Array | null;
}

/** Pages that may lie between two that are wanted when both are read at once from a source that has to be waited for. */
const gapPages = 32;
/** Pages of one such reading. */
const readPages = 256;
/** Readings at the same time. */
const readings = 8;

/** Consecutive pages of one file. */
interface PageRun {
  readonly level: number;
  readonly first: number;
  /** Pages that are wanted, ascending, and where each goes in the target, in pages. */
  readonly pages: number[];
  readonly slots: number[];
}

/** A chain that is open. Close it. */
export class ChainContent {
  private readonly files: OpenedFile[] = [];
  private readonly chain: readonly ChainLevel[];

  /**
   * `chain` goes from the generation itself down to a complete one. Throws FormatError or SourceError if an image cannot
   * be opened or has another length than the geometry.
   */
  constructor(chain: readonly ChainLevel[], geometry: Geometry) {
    this.chain = chain;
    try {
      for (const { files } of chain) {
        const file = openInput(files, "ram.img");
        this.files.push(file);
        const expected = geometry.totalPages * pageBytes;
        if (file.sizeBytes !== expected) {
          const path = pathIn(files, "ram.img");
          throw new FormatError(
            "bad-length",
            `Cannot use ${path}: ${file.sizeBytes} bytes, ${expected} expected`,
          );
        }
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Reads pages, ascending and each once, to `target`, 4096 bytes each. Throws FormatError or SourceError. */
  async readPages(pages: readonly number[], target: Uint8Array): Promise<void> {
    const waiting: PageRun[] = [];
    for (const run of this.runsOf(pages)) {
      waiting.push(run);
      if (waiting.length === readings) await this.readRuns(waiting.splice(0), target);
    }
    await this.readRuns(waiting, target);
  }

  close(): void {
    for (const file of this.files.splice(0)) file.close();
  }

  /** The newest level whose image answers for the page. */
  private levelOf(page: number): number {
    const bottom = this.chain.length - 1;
    const level = this.chain.findIndex(({ dirty }, i) => i < bottom && dirty !== null && bitOf(dirty, page));
    return level < 0 ? bottom : level;
  }

  private *runsOf(pages: readonly number[]): Generator<PageRun> {
    let run: PageRun | null = null;
    for (const [slot, page] of pages.entries()) {
      const level = this.levelOf(page);
      const gap: number = isImmediate(this.files[level]) ? 0 : gapPages;
      const last = run?.pages[run.pages.length - 1] ?? 0;
      const joins =
        run !== null && run.level === level && page - last - 1 <= gap && page - run.first < readPages;
      if (!joins) {
        if (run) yield run;
        run = { level, first: page, pages: [], slots: [] };
      }
      run?.pages.push(page);
      run?.slots.push(slot);
    }
    if (run) yield run;
  }

  private async readRuns(runs: readonly PageRun[], target: Uint8Array): Promise<void> {
    // All of them end before an error is told: their file may be closed after it.
    const ended = await Promise.allSettled(runs.map((run) => this.readRun(run, target)));
    for (const one of ended) if (one.status === "rejected") throw one.reason;
  }

  private async readRun({ level, first, pages, slots }: PageRun, target: Uint8Array): Promise<void> {
    const file = this.files[level];
    const count = pages[pages.length - 1] - first + 1;
    if (count === pages.length) {
      const from = slots[0] * pageBytes;
      await readFully(file, target.subarray(from, from + count * pageBytes), first * pageBytes);
      return;
    }
    const bytes = new Uint8Array(count * pageBytes);
    await readFully(file, bytes, first * pageBytes);
    for (const [i, page] of pages.entries()) {
      const from = (page - first) * pageBytes;
      target.set(bytes.subarray(from, from + pageBytes), slots[i] * pageBytes);
    }
  }
}
