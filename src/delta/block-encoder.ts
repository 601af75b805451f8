/**
 * Decides for each block of a disk that may have changed what the other side must be told, and makes frames of it.
 *
 * A block is left out if its digest is that of the block which the peer has. Else it becomes a record: zero; a delta
 * against the base, if the base's content is here; or the whole block. Blocks are never "moved".
 */

import type { Core } from "../core.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { PayloadCompressor } from "./frame.ts";
import type { FrameSequence } from "./frame-sequence.ts";
import { PageEncoder } from "./page-encoder.ts";
import { SparseBits } from "./sparse-bits.ts";
import {
  frameLimits,
  noRecords,
  pageBytes,
  type RecordCounts,
  RecordKind,
  recordKindNames,
} from "./vocabulary.ts";

/** Digests of a disk's blocks, as one side has them. */
export interface BlockView {
  /** True if the block's digest is the 16 bytes at `from[at]`. */
  equals(block: number, from: Uint8Array, at: number): boolean;
}

/** Digests that become those of the new generation. */
export interface GrowingBlockView extends BlockView {
  /** The digest of a block of zeroes. */
  readonly zero: Uint8Array;
  /** Pointer to the 32-byte key in the core's memory. */
  readonly keyPointer: number;
  /** Makes the block's digest the 16 bytes at `from[at]`. */
  set(block: number, from: Uint8Array, at: number): void;
}

/** Gives pointers to blocks of the base; a pointer is valid until the next call. */
export interface BlockBase {
  /** Pointer to the block's 4096 bytes in the core's memory. */
  baseBlock(block: number): number;
}

/** Called with each complete frame and the kinds of its records. */
export type BlockFrameSink = (frame: Uint8Array<ArrayBuffer>, kinds: Uint8Array) => void;

/** What a block encoder works with. */
export interface BlockEncoderOptions {
  /** Index that frames carry; see `frameExtents`. */
  readonly region: number;
  /** This site's digests: what they were before the leg, and then those of what was encoded. */
  readonly own: GrowingBlockView;
  /** What the peer had before the leg; null: zeroes. */
  readonly peer: BlockView | null;
  /**
   * Content of what the peer had: `content` if it is here, `zero` if it was nothing, `unknown` if only its digests
   * are known.
   */
  readonly base:
    | { readonly mode: "content"; readonly reader: BlockBase }
    | { readonly mode: "zero" | "unknown" };
  readonly sequence: FrameSequence;
  readonly sink: BlockFrameSink;
  /** Asked once a frame what compresses it; as for `PageEncoder`. */
  readonly choose?: () => PayloadCompressor | null;
}

/** A frame is sealed early when this much is waiting, so that the link never idles. */
const sealAtBytes = 128 * 1024;
const batchBlocks = 256;

/** Encodes the changes of one disk in one leg. */
export class BlockEncoder {
  /** Records sent so far by kind; `same` also counts blocks that needed no record. */
  readonly counts: RecordCounts = noRecords();
  /** Bytes of blocks that were found to differ and were sent. */
  changedBytes = 0;
  /** Bytes of all frames made so far. */
  frameBytes = 0;
  private readonly core: Core;
  private readonly options: BlockEncoderOptions;
  private readonly encoder: PageEncoder;
  private readonly sent = new SparseBits();
  private readonly kinds = new Uint8Array(frameLimits.records);
  private records = 0;
  private readonly digests: number;

  constructor(core: Core, options: BlockEncoderOptions) {
    this.core = core;
    this.options = options;
    this.encoder = new PageEncoder(core, options.choose);
    this.digests = core.allocate(batchBlocks * digestBytes);
  }

  /** Takes `count` blocks from `block` on; `contents` points to their bytes, one after the other, in the core's memory. */
  blocks(block: number, count: number, contents: number): void {
    const { own } = this.options;
    for (let done = 0; done < count; done += batchBlocks) {
      const batch = Math.min(batchBlocks, count - done);
      const from = contents + done * pageBytes;
      this.core.raw.pageDigests(from, batch, own.keyPointer, this.digests);
      for (let i = 0; i < batch; i++) {
        const digest = this.digests + i * digestBytes;
        const memory = this.core.bytes();
        if (this.isKnown(block + done + i, memory, digest)) this.counts.same++;
        else this.changed(block + done + i, from + i * pageBytes, digest);
      }
    }
  }

  /** Takes `count` blocks of zeroes from `block` on. */
  zeroBlocks(block: number, count: number): void {
    const { own } = this.options;
    for (let i = block; i < block + count; i++) {
      if (this.isKnown(i, own.zero, 0)) this.counts.same++;
      else {
        own.set(i, own.zero, 0);
        this.record(i, RecordKind.zero);
      }
    }
  }

  /** Seals what is waiting, if anything. */
  flush(): void {
    const { region, sequence, sink } = this.options;
    if (this.records === 0) return;
    const frame = this.encoder.seal(region, sequence.take());
    if (frame === null) return;
    this.frameBytes += frame.length;
    const kinds = this.kinds.slice(0, this.records);
    this.records = 0;
    sink(frame, kinds);
  }

  /** Gives its windows back to the core. */
  release(): void {
    this.encoder.release();
    this.core.release(this.digests);
  }

  /** True if the peer, and this site's own copy, have this content already. */
  private isKnown(block: number, from: Uint8Array, at: number): boolean {
    const { own, peer } = this.options;
    if (!own.equals(block, from, at)) return false;
    if (this.sent.has(block)) return true;
    return peer === null ? isSame(own.zero, from, at) : peer.equals(block, from, at);
  }

  private changed(block: number, content: number, digest: number): void {
    const { own, base } = this.options;
    const memory = this.core.bytes();
    const isZero = isSame(own.zero, memory, digest);
    own.set(block, memory, digest);
    if (isZero) {
      this.record(block, RecordKind.zero);
      return;
    }
    let basePointer = base.mode === "zero" ? this.encoder.zeroPointer : 0;
    if (base.mode === "content") {
      basePointer = base.reader.baseBlock(block);
      if (this.core.raw.pagesEqual(content, basePointer)) {
        this.record(block, RecordKind.same);
        return;
      }
    }
    this.note(block, this.encoder.content(block, content, basePointer));
  }

  private record(block: number, kind: typeof RecordKind.same | typeof RecordKind.zero): void {
    if (kind === RecordKind.same) this.encoder.same(block);
    else this.encoder.zero(block);
    this.note(block, kind);
  }

  private note(block: number, kind: RecordKind): void {
    this.kinds[this.records++] = kind;
    this.counts[recordKindNames[kind - 1]]++;
    this.sent.add(block);
    this.changedBytes += pageBytes;
    if (this.encoder.full || this.encoder.pendingBytes >= sealAtBytes) this.flush();
  }
}

function isSame(digest: Uint8Array, from: Uint8Array, at: number): boolean {
  for (let i = 0; i < digestBytes; i++) if (digest[i] !== from[at + i]) return false;
  return true;
}
