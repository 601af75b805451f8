/**
 * Decides for each page that QEMU sends what the other side must be told, and makes frames of it.
 *
 * Three situations, by what both sides have in common:
 *
 *     nothing   every page that is not zero is sent; the base is zero everywhere
 *     content   the base's content is here: pages are compared with it and sent as deltas
 *     digests   only the base's digests are here: a page is left out if it has the base's digest, else sent whole
 */

import type { Core } from "../core.ts";
import { digestBytes, type PageDigests } from "../generation/digest-tree.ts";
import type { FrameSequence } from "./frame-sequence.ts";
import { MovedIndex } from "./moved-index.ts";
import { PageEncoder } from "./page-encoder.ts";
import { noRecords, pageBytes, type RecordCounts, recordKindNames } from "./vocabulary.ts";

/** Gives pointers to base pages; a pointer is valid until the next call. */
export interface BaseReader {
  /** Pointer to the page's 4096 bytes in the core's memory. `page` counts over all regions. */
  basePage(page: number): number;
}

/** What both sides have in common. */
export type Common =
  | { readonly mode: "nothing" }
  /** `digests`: those of the base, 16 bytes a page; they must not change during the leg. */
  | { readonly mode: "content"; readonly reader: BaseReader; readonly digests: Uint8Array }
  /** `own`: digests of the generation that this site's own copy will stand on, 16 bytes a page. */
  | { readonly mode: "digests"; readonly own: Uint8Array };

/** Called with each complete frame. */
export type FrameSink = (frame: Uint8Array<ArrayBuffer>) => void;

/** A frame is sealed early when this much is waiting, so that the link never idles. */
const sealAtBytes = 128 * 1024;

/** Encodes the changes of one leg. */
export class ChangeEncoder {
  /** Records sent so far by kind; `same` also counts pages that needed no record. */
  readonly counts: RecordCounts = noRecords();
  /** Bytes of pages that were found to differ and were sent. */
  changedBytes = 0;
  /** Bytes of all frames made so far. */
  frameBytes = 0;
  private readonly core: Core;
  private readonly digests: PageDigests;
  private readonly common: Common;
  private readonly sink: FrameSink;
  private readonly encoder: PageEncoder;
  private readonly moved: MovedIndex | null;
  private readonly sent: Uint8Array;
  private readonly digest: number;
  private region = 0;
  private readonly sequence: FrameSequence;

  /**
   * `digests` are those of the common base and become those of the new generation.
   * Frames take their numbers from `sequence`.
   */
  constructor(core: Core, digests: PageDigests, common: Common, sink: FrameSink, sequence: FrameSequence) {
    this.core = core;
    this.digests = digests;
    this.common = common;
    this.sink = sink;
    this.sequence = sequence;
    this.encoder = new PageEncoder(core);
    this.moved = common.mode === "content" ? new MovedIndex(common.digests, digests.zero) : null;
    this.sent = new Uint8Array(Math.ceil(digests.geometry.totalPages / 8));
    this.digest = core.allocate(digestBytes);
  }

  /** Takes a page as QEMU sent it: `content` points to 4096 bytes in the core's memory. */
  page(region: number, page: number, content: number): void {
    const global = this.digests.geometry.regions[region].firstPage + page;
    let base = 0;
    if (this.common.mode === "content") {
      base = this.baseIsZero(global) ? this.encoder.zeroPointer : this.common.reader.basePage(global);
      if (this.core.raw.pagesEqual(content, base)) {
        this.backToBase(region, page, global);
        return;
      }
    }
    this.core.raw.pageDigest(content, this.digests.keyPointer, this.digest);
    const memory = this.core.bytes();
    if (this.alreadyThere(global, memory, this.digest)) {
      this.counts.same++;
      return;
    }
    const reference = this.moved ? this.moved.find(memory, this.digest) : -1;
    this.digests.set(region, global, memory, this.digest);
    this.startRecord(region, global);
    if (reference >= 0) {
      this.encoder.moved(page, reference);
      this.counts.moved++;
    } else if (this.common.mode === "nothing" && this.core.raw.isZero(content, pageBytes)) {
      this.encoder.zero(page);
      this.counts.zero++;
    } else {
      if (this.common.mode === "nothing") base = this.encoder.zeroPointer;
      const kind = this.encoder.content(page, content, base);
      this.counts[recordKindNames[kind - 1]]++;
    }
    this.endRecord();
  }

  /** Takes a page that QEMU sent as zero. */
  zeroPage(region: number, page: number): void {
    const global = this.digests.geometry.regions[region].firstPage + page;
    if (this.alreadyThere(global, this.digests.zero, 0)) return;
    this.digests.set(region, global, this.digests.zero, 0);
    this.startRecord(region, global);
    this.encoder.zero(page);
    this.counts.zero++;
    this.endRecord();
  }

  /** Seals what is waiting, if anything. */
  flush(): void {
    if (this.encoder.pending === 0) return;
    const frame = this.encoder.seal(this.region, this.sequence.take());
    if (frame === null) return;
    this.frameBytes += frame.length;
    this.sink(frame);
  }

  /** True if the peer, and this site's own copy, have this content already. */
  private alreadyThere(global: number, from: Uint8Array, at: number): boolean {
    if (!this.digests.equals(global, from, at)) return false;
    if (this.common.mode !== "digests" || this.wasSent(global)) return true;
    const own = global * digestBytes;
    for (let i = 0; i < digestBytes; i++) if (this.common.own[own + i] !== from[at + i]) return false;
    return true;
  }

  private backToBase(region: number, page: number, global: number): void {
    const base = this.moved as MovedIndex;
    const unchanged =
      !this.wasSent(global) || this.digests.equals(global, base.baseDigests, global * digestBytes);
    this.counts.same++;
    if (unchanged) return;
    this.digests.set(region, global, base.baseDigests, global * digestBytes);
    this.startRecord(region, global);
    this.encoder.same(page);
    this.endRecord();
  }

  private baseIsZero(global: number): boolean {
    const { baseDigests } = this.moved as MovedIndex;
    const { zero } = this.digests;
    const at = global * digestBytes;
    for (let i = 0; i < digestBytes; i++) if (baseDigests[at + i] !== zero[i]) return false;
    return true;
  }

  private startRecord(region: number, global: number): void {
    if (region !== this.region) {
      this.flush();
      this.region = region;
    }
    this.sent[global >> 3] |= 1 << (global & 7);
    this.changedBytes += pageBytes;
  }

  private endRecord(): void {
    if (this.encoder.full || this.encoder.pendingBytes >= sealAtBytes) this.flush();
  }

  private wasSent(global: number): boolean {
    return (this.sent[global >> 3] & (1 << (global & 7))) !== 0;
  }
}
