/**
 * Decides for each page that QEMU sends what the other side must be told, and makes frames of it.
 *
 * Three situations, by what both sides have in common:
 *
 *     nothing   every page that is not zero is sent; the base is zero everywhere
 *     content   the base's content is here: pages are compared with it and sent as deltas
 *     digests   only the base's digests are here: a page is left out if it has the base's digest, else sent whole
 */

import type { Core, Pointer } from "../core.ts";
import { digestBytes, type PageDigests } from "../generation/digest-tree.ts";
import type { EncodedBatch } from "./batch-encoder.ts";
import type { PayloadCompressor } from "./frame.ts";
import type { FrameSequence } from "./frame-sequence.ts";
import { MovedIndex } from "./moved-index.ts";
import type { DecodedPages } from "./page-decoder.ts";
import { PageEncoder } from "./page-encoder.ts";
import {
  frameLimits,
  noRecords,
  pageBytes,
  type RecordCounts,
  RecordKind,
  recordKindNames,
} from "./vocabulary.ts";

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

/**
 * Called with each complete frame, and with what it says: the contents are the pages themselves as they were given, not
 * decoded from the frame. `said` is valid until the call returns.
 */
export type FrameSink = (frame: Uint8Array<ArrayBuffer>, said: DecodedPages) => void;

/** A frame is sealed early when this much is waiting, so that the link never idles. */
const sealAtBytes = 128 * 1024;

/** Encodes the changes of one leg. */
export class ChangeEncoder {
  /** Records sent so far by kind; `same` also counts pages that needed no record. */
  readonly counts: RecordCounts = noRecords();
  /** Bytes of pages that were found to differ and were sent. */
  changedBytes = 0;
  /** The same, each page counted once. */
  distinctBytes = 0;
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
  /** What the frame under way says: the arrays of `DecodedPages`. */
  private readonly pages = new Uint32Array(frameLimits.records);
  private readonly kinds = new Uint8Array(frameLimits.records);
  private readonly contents: number;
  private records = 0;
  private region = 0;
  private readonly sequence: FrameSequence;

  /**
   * `digests` are those of the common base and become those of the new generation.
   * Frames take their numbers from `sequence`; `choose` says what compresses each, as for `PageEncoder`.
   */
  constructor(
    core: Core,
    digests: PageDigests,
    common: Common,
    sink: FrameSink,
    sequence: FrameSequence,
    choose?: () => PayloadCompressor | null,
  ) {
    this.core = core;
    this.digests = digests;
    this.common = common;
    this.sink = sink;
    this.sequence = sequence;
    this.encoder = new PageEncoder(core, choose);
    this.moved = common.mode === "content" ? new MovedIndex(common.digests, digests.zero) : null;
    this.sent = new Uint8Array(Math.ceil(digests.geometry.totalPages / 8));
    this.digest = core.allocate(digestBytes);
    this.contents = core.allocate(frameLimits.records * pageBytes);
  }

  /** Takes a page as QEMU sent it: `content` points to 4096 bytes in the core's memory. */
  page(region: number, page: number, content: number): void {
    const global = this.digests.geometry.regions[region].firstPage + page;
    let base = 0;
    if (this.common.mode === "content") {
      base = this.baseIsZero(global) ? this.encoder.zeroPointer : this.common.reader.basePage(global);
      if (this.core.raw.pagesEqual(content, base)) {
        this.backToBase(region, page, global, content);
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
      this.endRecord(page, RecordKind.moved, content);
    } else if (this.common.mode === "nothing" && this.core.raw.isZero(content, pageBytes)) {
      this.encoder.zero(page);
      this.endRecord(page, RecordKind.zero, content);
    } else {
      if (this.common.mode === "nothing") base = this.encoder.zeroPointer;
      this.endRecord(page, this.encoder.content(page, content, base), content);
    }
  }

  /** Takes a page of which is known, without a look at it, that it is what the base has. Only in the mode `content`. */
  samePage(region: number, page: number): void {
    this.backToBase(region, page, this.digests.geometry.regions[region].firstPage + page, null);
  }

  /** Takes a page that QEMU sent as zero. */
  zeroPage(region: number, page: number): void {
    const global = this.digests.geometry.regions[region].firstPage + page;
    if (this.alreadyThere(global, this.digests.zero, 0)) return;
    this.digests.set(region, global, this.digests.zero, 0);
    this.startRecord(region, global);
    this.encoder.zero(page);
    this.endRecord(page, RecordKind.zero, this.encoder.zeroPointer);
  }

  /** True if a page that has the digest which is known of it need not be sent. `page` counts over all regions. */
  isSettled(page: number): boolean {
    return this.common.mode !== "digests" || this.wasSent(page) || this.ownHas(page);
  }

  /**
   * Takes the word of a `BatchEncoder` on the first `count` pages of a batch: what it sent counts as sent from here, and
   * what it left out as the same. Its frames are numbered and sent by the caller.
   */
  took(batch: EncodedBatch): void {
    const { region, pages, kinds, digests, count } = batch;
    const { firstPage } = this.digests.geometry.regions[region];
    for (let i = 0; i < count; i++) {
      if (kinds[i] === 0) {
        this.counts.same++;
        continue;
      }
      const global = firstPage + pages[i];
      this.digests.set(region, global, digests, i * digestBytes);
      this.markSent(global);
      this.counts[recordKindNames[kinds[i] - 1]]++;
    }
    for (const { frame } of batch.frames) this.frameBytes += frame.length;
  }

  /** Seals what is waiting, if anything. */
  flush(): void {
    if (this.encoder.pending === 0) return;
    const { region, pages, kinds, contents, records: count } = this;
    const sequence = this.sequence.take();
    const frame = this.encoder.seal(region, sequence);
    this.records = 0;
    if (frame === null) return;
    this.frameBytes += frame.length;
    this.sink(frame, { region, sequence, count, pages, kinds, contents });
  }

  /** Gives the encoder's memory back to the core. What was not flushed is lost. */
  release(): void {
    this.encoder.release();
    this.core.release(this.digest);
    this.core.release(this.contents);
  }

  /** True if the peer, and this site's own copy, have this content already. */
  private alreadyThere(global: number, from: Uint8Array, at: number): boolean {
    return this.digests.equals(global, from, at) && this.isSettled(global);
  }

  /** In the mode `digests`: true if what this site's own copy will stand on has the page as the peer is known to have it. */
  private ownHas(global: number): boolean {
    return (
      this.common.mode === "digests" && this.digests.equals(global, this.common.own, global * digestBytes)
    );
  }

  private backToBase(region: number, page: number, global: number, content: Pointer | null): void {
    const base = this.moved as MovedIndex;
    const unchanged =
      !this.wasSent(global) || this.digests.equals(global, base.baseDigests, global * digestBytes);
    if (unchanged) {
      this.counts.same++;
      return;
    }
    this.digests.set(region, global, base.baseDigests, global * digestBytes);
    this.startRecord(region, global);
    this.encoder.same(page);
    this.endRecord(page, RecordKind.same, content ?? this.baseContent(global));
  }

  /** Pointer to what the base has, which is here. */
  private baseContent(global: number): Pointer {
    return this.common.mode === "content" ? this.common.reader.basePage(global) : this.encoder.zeroPointer;
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
    this.markSent(global);
  }

  private markSent(global: number): void {
    if (!this.wasSent(global)) this.distinctBytes += pageBytes;
    this.sent[global >> 3] |= 1 << (global & 7);
    this.changedBytes += pageBytes;
  }

  private endRecord(page: number, kind: RecordKind, content: number): void {
    this.core.raw.copy(this.contents + this.records * pageBytes, content, pageBytes);
    this.pages[this.records] = page;
    this.kinds[this.records++] = kind;
    this.counts[recordKindNames[kind - 1]]++;
    if (this.encoder.full || this.encoder.pendingBytes >= sealAtBytes) this.flush();
  }

  private wasSent(global: number): boolean {
    return (this.sent[global >> 3] & (1 << (global & 7))) !== 0;
  }
}
