/**
 * Encodes batches of pages apart from what is known of a leg, so that several threads can do it at once: a batch brings
 * with it what is known of its pages, and goes back with what became of them. For pages without a base's content.
 *
 *     batch ─► digests ─► left out, zero, or content ─► frames without a number ─► `numberFrame`, in the batches' order
 */

import type { Core, Pointer } from "../core.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { PayloadCompressor } from "./frame.ts";
import { PageEncoder } from "./page-encoder.ts";
import { pageBytes, RecordKind } from "./vocabulary.ts";

/** What is wanted of a page. Zero is invalid. */
export const PageWish = {
  /** It is sent whatever it holds. */
  send: 1,
  /** It is left out if its digest is the known one. */
  sendIfNew: 2,
  /** It is sent as zero; its content counts for nothing. */
  zero: 3,
} as const;
export type PageWish = (typeof PageWish)[keyof typeof PageWish];

/** Pages of one region to encode: parallel arrays of at least `count` entries. */
export interface PageBatch {
  readonly region: number;
  readonly count: number;
  /** Region-relative page of each. */
  readonly pages: Uint32Array;
  readonly wishes: Uint8Array;
  /** In: digests that are known, 16 bytes a page. Out: those of the pages' contents. */
  readonly digests: Uint8Array;
  /** Out: kind of each page's record; 0 where it was left out. */
  readonly kinds: Uint8Array;
}

/** A frame that has no number so far, and how many of the batch's records it holds. */
export interface UnnumberedFrame {
  readonly frame: Uint8Array<ArrayBuffer>;
  readonly records: number;
}

/** A batch with what became of it. */
export interface EncodedBatch extends PageBatch {
  readonly frames: readonly UnnumberedFrame[];
}

/** How a batch is to be encoded. */
export interface BatchEncoderOptions {
  /** The key of page digests, 32 bytes. */
  readonly key: Uint8Array;
  /** True if the base is zero everywhere; false if it is not known here. */
  readonly isBaseZero: boolean;
  /** Pages in a batch at most. */
  readonly maxPages: number;
  /** A frame is sealed early when this much is waiting. */
  readonly sealAtBytes: number;
  /** As for `PageEncoder`. */
  readonly choose?: () => PayloadCompressor | null;
}

/** Encodes one batch after the other. */
export class BatchEncoder {
  /** Where the contents of a batch's pages go, 4096 bytes each, in the core's memory. Those of zero pages are overwritten. */
  readonly contents: Pointer;
  private readonly core: Core;
  private readonly options: BatchEncoderOptions;
  private readonly encoder: PageEncoder;
  private readonly key: Pointer;
  private readonly digests: Pointer;

  /** Throws RangeError for a key that is not 32 bytes. */
  constructor(core: Core, options: BatchEncoderOptions) {
    if (options.key.length !== 32)
      throw new RangeError(`Cannot use key: ${options.key.length} bytes, 32 expected`);
    this.core = core;
    this.options = options;
    this.encoder = new PageEncoder(core, options.choose);
    this.contents = core.allocate(options.maxPages * pageBytes);
    this.digests = core.allocate(options.maxPages * digestBytes);
    this.key = core.allocate(32);
    core.bytes().set(options.key, this.key);
  }

  /** Encodes the pages whose contents are at `contents`. Throws RangeError if there are too many. */
  encode(batch: PageBatch): UnnumberedFrame[] {
    const { region, count, pages, wishes, digests, kinds } = batch;
    if (count > this.options.maxPages) throw new RangeError(`Cannot encode ${count} pages at once`);
    for (let i = 0; i < count; i++) {
      if (wishes[i] !== PageWish.zero) continue;
      const at = this.contents + i * pageBytes;
      this.core.bytes().fill(0, at, at + pageBytes);
    }
    this.core.raw.pageDigests(this.contents, count, this.key, this.digests);
    const frames: UnnumberedFrame[] = [];
    for (let i = 0; i < count; i++) {
      kinds[i] = wishes[i] === PageWish.sendIfNew && this.isKnown(digests, i) ? 0 : this.add(pages[i], i);
      if (this.encoder.full || this.encoder.pendingBytes >= this.options.sealAtBytes)
        this.seal(region, frames);
    }
    this.seal(region, frames);
    const memory = this.core.bytes();
    digests.set(memory.subarray(this.digests, this.digests + count * digestBytes));
    return frames;
  }

  private isKnown(known: Uint8Array, i: number): boolean {
    const memory = this.core.bytes();
    const at = this.digests + i * digestBytes;
    for (let byte = 0; byte < digestBytes; byte++) {
      if (memory[at + byte] !== known[i * digestBytes + byte]) return false;
    }
    return true;
  }

  private add(page: number, i: number): RecordKind {
    const content = this.contents + i * pageBytes;
    if (this.core.raw.isZero(content, pageBytes)) {
      this.encoder.zero(page);
      return RecordKind.zero;
    }
    return this.encoder.content(page, content, this.options.isBaseZero ? this.encoder.zeroPointer : 0);
  }

  private seal(region: number, frames: UnnumberedFrame[]): void {
    const records = this.encoder.pending;
    const frame = this.encoder.seal(region, 0);
    if (frame !== null) frames.push({ frame, records });
  }
}
