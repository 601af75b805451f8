/**
 * Decodes pages frames on a base that may have to be waited for: first the pages of the base that a frame's records need
 * are read with few readings, then the records are applied.
 */

import type { Core } from "../core.ts";
import { type BasePages, type DecodedPages, PageDecoder, type RegionExtent } from "../delta/page-decoder.ts";
import { pageBytes } from "../delta/vocabulary.ts";
import type { Geometry } from "../generation/geometry.ts";
import type { ChainContent } from "./chain-content.ts";
import type { CrossCheck } from "./cross-check.ts";
import type { FrameDecoder } from "./delta-replay.ts";
import type { DiskReplay } from "./disk-checks.ts";

/** What a delta is replayed on. */
export interface DecoderBase {
  readonly geometry: Geometry;
  /** Regions that frames name: those of RAM, then disks. */
  readonly extents: readonly RegionExtent[];
  /** Contents of RAM; null: all zero, which is enough to check the structure of frames. */
  readonly content: ChainContent | null;
  readonly disks: Pick<DiskReplay, "readBase">;
  /** Sees each frame, and what was made of it; null if nobody does. */
  readonly crossCheck: CrossCheck | null;
}

/** Takes up to 14 MiB until it is released. */
export class BaseDecoder implements FrameDecoder {
  private readonly core: Core;
  private readonly base: DecoderBase;
  private readonly decoder: PageDecoder;
  /** Base pages of the current frame: 4096 bytes each, and which one stands where. */
  private pages = new Uint8Array(0);
  private readonly slots = new Map<number, number>();

  constructor(core: Core, base: DecoderBase) {
    this.core = core;
    this.base = base;
    this.decoder = new PageDecoder(core, base.extents, this);
  }

  async decode(frame: Uint8Array, at: number): Promise<DecodedPages> {
    const { crossCheck, extents } = this.base;
    try {
      const parsed = this.decoder.parse(frame);
      await this.load(this.decoder.basePagesOf(parsed));
      const decoded = this.decoder.apply(parsed);
      crossCheck?.compare(frame, at, decoded, extents, this);
      return decoded;
    } catch (error) {
      crossCheck?.refused(frame, at, error, extents, this);
      throw error;
    }
  }

  /** A page of the base, or a block of a disk, to the core's memory. */
  readBasePage(page: number, target: number): void {
    const { extents, geometry, disks } = this.base;
    if (page >= geometry.totalPages) {
      const region = extents.findLastIndex(({ firstPage }) => firstPage <= page);
      disks.readBase(region - geometry.regions.length, page - extents[region].firstPage, target);
      return;
    }
    const slot = this.slots.get(page);
    if (slot === undefined) this.core.bytes().fill(0, target, target + pageBytes);
    else this.core.bytes().set(this.pages.subarray(slot * pageBytes, (slot + 1) * pageBytes), target);
  }

  release(): void {
    this.decoder.release();
  }

  private async load(needed: readonly number[]): Promise<void> {
    const { content, geometry } = this.base;
    this.slots.clear();
    if (content === null) return;
    const wanted = [...new Set(needed.filter((page) => page < geometry.totalPages))].sort((a, b) => a - b);
    for (const [slot, page] of wanted.entries()) this.slots.set(page, slot);
    const bytes = wanted.length * pageBytes;
    if (bytes > this.pages.length) this.pages = new Uint8Array(Math.max(bytes, 2 * this.pages.length));
    await content.readPages(wanted, this.pages);
  }
}

/** A base of zeroes: enough to check the structure of frames. */
export function zeroPages(core: Core): BasePages {
  return { readBasePage: (_page, target) => void core.bytes().fill(0, target, target + pageBytes) };
}
