/**
 * Builds pages frames: collects the records of one region and seals them into a frame.
 *
 * Columns of a pages frame, in this order (little-endian):
 *
 *     u32 moved, u32 whole (lz4 + raw), u32 mask bytes, u32 literal words
 *     u8  kind          × records
 *     u32 page          × records   difference to the page before, minus 1; the first counts from -1
 *     u32 reference     × moved     page of the base, counted over all regions in their order
 *     u16 size          × whole     4096 for raw, less for lz4
 *     masks                         grammar in `assembly/delta.ts`
 *     u64 literal       × literal words
 *
 * After the columns stand the whole pages, one LZ4 block (or 4096 raw bytes) each. A block may refer
 * back to the pages before it in the same frame. A frame for zstd has all of its whole pages raw, and all of its payload
 * is compressed at once.
 */

import { concatBytes } from "../bytes.ts";
import type { Core } from "../core.ts";
import { type PayloadCompressor, sealFrame, sealZstdFrame } from "./frame.ts";
import { FrameKind, frameLimits, pageBytes, RecordKind } from "./vocabulary.ts";

const maxMaskBytesPerPage = 72;
/** A payload for zstd is full at this length: it is compressed at once, and nothing else happens meanwhile. */
const zstdPayloadBytes = 256 * 1024;
/** Payloads below this are left to LZ4: zstd's head and tables cost what they save. */
const leastBytesForZstd = 256;
/** Above this many bytes of masks and literals a whole compressed page is tried as well. */
const tryWholeAbove = 512;
/** For zstd: above this many bytes a page is whole. The literals are compressed as well as the page would be. */
const wholeAboveForZstd = 3072;
/** Columns that one record can need beside masks and literals. */
const fixedColumnBytes = 16 + frameLimits.records * 11;
const streamBytes = frameLimits.columnsBytes - fixedColumnBytes;

/** Collects records until a frame is full. One encoder serves one region after the other. */
export class PageEncoder {
  private readonly core: Core;
  private readonly masks: number;
  private readonly literals: number;
  /** Contents of this frame's whole pages: the LZ4 window. */
  private readonly window: number;
  private readonly whole: number;
  private readonly zeroPage: number;
  private readonly kinds = new Uint8Array(frameLimits.records);
  private readonly pages = new Uint32Array(frameLimits.records);
  private readonly references = new Uint32Array(frameLimits.records);
  private readonly sizes = new Uint16Array(frameLimits.wholePages);
  private records = 0;
  private movedCount = 0;
  private wholeCount = 0;
  private wholeBytes = 0;
  private maskBytes = 0;
  private literalBytes = 0;
  /** True when the LZ4 table knows nothing, or knows a page that was not taken into the window. */
  private tableStale = true;
  private readonly choose: () => PayloadCompressor | null;
  /** What compresses this frame as a whole; null: LZ4, page by page; undefined before its first record. */
  private compressor: PayloadCompressor | null | undefined;

  /** `choose` is asked once a frame what compresses it; null: the core's LZ4, which is also the default. */
  constructor(core: Core, choose: () => PayloadCompressor | null = () => null) {
    this.core = core;
    this.choose = choose;
    this.masks = core.allocate(streamBytes + maxMaskBytesPerPage);
    this.literals = core.allocate(streamBytes + pageBytes);
    this.window = core.allocate(frameLimits.wholePages * pageBytes);
    this.whole = core.allocate((frameLimits.wholePages + 1) * pageBytes);
    this.zeroPage = core.allocate(pageBytes);
    core.bytes().fill(0, this.zeroPage, this.zeroPage + pageBytes);
  }

  /** Pointer to a page of zeroes: the base of a page whose base is zero. */
  get zeroPointer(): number {
    return this.zeroPage;
  }

  /** Gives the windows back to the core. */
  release(): void {
    for (const pointer of [this.masks, this.literals, this.window, this.whole, this.zeroPage]) {
      this.core.release(pointer);
    }
  }

  /** Number of records waiting to be sealed. */
  get pending(): number {
    return this.records;
  }

  /** Approximate bytes of the frame if it were sealed now; with zstd half of what is to be compressed. */
  get pendingBytes(): number {
    const bytes = this.contentBytes + this.records * 5;
    return this.compressor ? bytes / 2 : bytes;
  }

  private get contentBytes(): number {
    return this.wholeBytes + this.maskBytes + this.literalBytes;
  }

  /** True if another record of any kind may not fit: seal first. */
  get full(): boolean {
    return (
      this.records === frameLimits.records ||
      this.wholeCount === frameLimits.wholePages ||
      (this.compressor ? this.contentBytes >= zstdPayloadBytes : false) ||
      this.maskBytes + this.literalBytes + maxMaskBytesPerPage + pageBytes > streamBytes
    );
  }

  /** Adds a record that the page has the base's content again. */
  same(page: number): void {
    this.add(RecordKind.same, page);
  }

  /** Adds a record that the page is zero. */
  zero(page: number): void {
    this.add(RecordKind.zero, page);
  }

  /** Adds a record that the page's content stands at page `reference` of the base. */
  moved(page: number, reference: number): void {
    this.references[this.movedCount++] = reference;
    this.add(RecordKind.moved, page);
  }

  /**
   * Adds a page by content: the smallest of delta, lz4 and raw. `page` is region-relative, `content` and
   * `base` are pointers to 4096 bytes in the core's memory; without a base (0) only whole pages are used.
   */
  content(page: number, content: number, base: number): RecordKind {
    const { raw } = this.core;
    this.begin();
    let deltaBytes = Number.POSITIVE_INFINITY;
    let maskBytes = 0;
    if (base !== 0) {
      const packed = raw.deltaEncode(
        content,
        base,
        this.masks + this.maskBytes,
        this.literals + this.literalBytes,
      );
      maskBytes = packed & 0xff;
      deltaBytes = maskBytes + (packed >>> 8) * 8;
    }
    if (deltaBytes <= tryWholeAbove) return this.acceptDelta(page, maskBytes, deltaBytes);
    if (this.compressor) {
      if (deltaBytes <= wholeAboveForZstd) return this.acceptDelta(page, maskBytes, deltaBytes);
      return this.acceptRaw(page, content);
    }
    const start = this.wholeCount * pageBytes;
    const target = this.whole + this.wholeBytes;
    this.core.raw.copy(this.window + start, content, pageBytes);
    const size = raw.lz4CompressLinked(this.window, start, pageBytes, target, pageBytes - 1, this.tableStale);
    this.tableStale = false;
    const wholeBytes = size > 0 ? size : pageBytes;
    if (deltaBytes <= wholeBytes) {
      this.tableStale = true;
      return this.acceptDelta(page, maskBytes, deltaBytes);
    }
    if (size <= 0) this.core.raw.copy(target, content, pageBytes);
    this.sizes[this.wholeCount++] = wholeBytes;
    this.wholeBytes += wholeBytes;
    const kind = size > 0 ? RecordKind.lz4 : RecordKind.raw;
    this.add(kind, page);
    return kind;
  }

  /** Seals what was collected into a frame and starts anew; null if there is nothing. */
  seal(region: number, sequence: number): Uint8Array<ArrayBuffer> | null {
    if (this.records === 0) return null;
    const memory = this.core.bytes();
    const columns = this.columns(memory);
    const whole = memory.slice(this.whole, this.whole + this.wholeBytes);
    const start = { kind: FrameKind.pages, region, sequence, records: this.records };
    const compressor = columns.length + whole.length >= leastBytesForZstd ? this.compressor : null;
    const frame =
      (compressor && sealZstdFrame(this.core, start, concatBytes([columns, whole]), compressor)) ??
      sealFrame(this.core, start, columns, whole);
    this.compressor = undefined;
    this.records = 0;
    this.movedCount = 0;
    this.wholeCount = 0;
    this.wholeBytes = 0;
    this.maskBytes = 0;
    this.literalBytes = 0;
    this.tableStale = true;
    return frame;
  }

  private acceptDelta(page: number, maskBytes: number, deltaBytes: number): RecordKind {
    this.maskBytes += maskBytes;
    this.literalBytes += deltaBytes - maskBytes;
    this.add(RecordKind.delta, page);
    return RecordKind.delta;
  }

  private acceptRaw(page: number, content: number): RecordKind {
    this.core.raw.copy(this.whole + this.wholeBytes, content, pageBytes);
    this.sizes[this.wholeCount++] = pageBytes;
    this.wholeBytes += pageBytes;
    this.add(RecordKind.raw, page);
    return RecordKind.raw;
  }

  /** The first record of a frame decides what compresses it. */
  private begin(): void {
    if (this.compressor === undefined) this.compressor = this.choose();
  }

  private add(kind: RecordKind, page: number): void {
    this.begin();
    if (this.records === frameLimits.records) throw new RangeError("Cannot add a record: the frame is full");
    this.kinds[this.records] = kind;
    this.pages[this.records] = page;
    this.records++;
  }

  private columns(memory: Uint8Array): Uint8Array {
    const total =
      16 + this.records * 5 + this.movedCount * 4 + this.wholeCount * 2 + this.maskBytes + this.literalBytes;
    const columns = new Uint8Array(total);
    const view = new DataView(columns.buffer);
    view.setUint32(0, this.movedCount, true);
    view.setUint32(4, this.wholeCount, true);
    view.setUint32(8, this.maskBytes, true);
    view.setUint32(12, this.literalBytes / 8, true);
    columns.set(this.kinds.subarray(0, this.records), 16);
    let at = 16 + this.records;
    let previous = -1;
    for (let i = 0; i < this.records; i++, at += 4) {
      view.setUint32(at, (this.pages[i] - previous - 1) >>> 0, true);
      previous = this.pages[i];
    }
    for (let i = 0; i < this.movedCount; i++, at += 4) view.setUint32(at, this.references[i], true);
    for (let i = 0; i < this.wholeCount; i++, at += 2) view.setUint16(at, this.sizes[i], true);
    columns.set(memory.subarray(this.masks, this.masks + this.maskBytes), at);
    columns.set(memory.subarray(this.literals, this.literals + this.literalBytes), at + this.maskBytes);
    return columns;
  }
}
