/**
 * The pointer functions of the WASM core. A pointer is a byte address in the core's memory. No kernel allocates,
 * and none traps on bytes from outside: where one decodes, a negative result is a CoreCode.
 */

/** A byte address in the core's memory, 0 to 2^32 - 1. */
export type Pointer = number;

/** Signatures of the kernels; lengths in bytes unless the name says otherwise. */
export type Kernels = {
  /** Copies bytes within the memory; the areas may overlap. */
  copy(dst: Pointer, src: Pointer, bytes: number): void;
  /** 1 if all bytes are zero, else 0. */
  isZero(pointer: Pointer, bytes: number): number;
  /** 1 if two pages of 4096 bytes are equal, else 0. */
  pagesEqual(a: Pointer, b: Pointer): number;
  /**
   * Compares `count` contiguous pages with those at `base`: bit i of `bitmap` becomes 1 where page i differs, else 0,
   * and bits after the last one in its byte become 0. Returns how many differ.
   */
  pagesDiffer(pages: Pointer, base: Pointer, count: number, bitmap: Pointer): number;

  // Bitmaps: bit i is bit (i & 7) of byte (i >> 3); fewer than 2^31 bits.
  /** Sets one bit. */
  bitmapSet(bitmap: Pointer, bit: number): void;
  /** Clears one bit. */
  bitmapClear(bitmap: Pointer, bit: number): void;
  /** 1 or 0. */
  bitmapTest(bitmap: Pointer, bit: number): number;
  /** Sets `count` bits from bit `from` on. */
  bitmapSetRange(bitmap: Pointer, from: number, count: number): void;
  /** Number of set bits among the first `bits`. */
  bitmapCount(bitmap: Pointer, bits: number): number;
  /** First set bit at or after `from`; `bits` if there is none. */
  bitmapNextSet(bitmap: Pointer, bits: number, from: number): number;
  /** First clear bit at or after `from`; `bits` if there is none. */
  bitmapNextClear(bitmap: Pointer, bits: number, from: number): number;
  /**
   * Lists runs of set bits from bit `from` on: first bit and length of each as two u32 at `out`, at most `max` runs.
   * Returns how many; where that is `max`, more may follow after the last one.
   */
  bitmapRuns(bitmap: Pointer, bits: number, from: number, out: Pointer, max: number): number;
  /** dst = dst | src. */
  bitmapOr(dst: Pointer, src: Pointer, bytes: number): void;
  /** dst = dst & src. */
  bitmapAnd(dst: Pointer, src: Pointer, bytes: number): void;
  /** dst = dst & ~src. */
  bitmapAndNot(dst: Pointer, src: Pointer, bytes: number): void;

  /**
   * Masks (at most 72 bytes) and literals (at most 4096) that turn `base` into `page`.
   * Returns maskBytes | changedWords << 8; 0, with nothing written, if the pages are equal.
   */
  deltaEncode(page: Pointer, base: Pointer, masksOut: Pointer, literalsOut: Pointer): number;
  /**
   * Turns the base at `page` into the page. More masks and literals may follow those of this page.
   * Returns maskBytesUsed | words << 8, or a negative code with the page untouched.
   */
  deltaApply(
    page: Pointer,
    masks: Pointer,
    masksBytes: number,
    literals: Pointer,
    literalBytes: number,
  ): number;

  /** Most bytes that a block can compress to. */
  lz4Bound(bytes: number): number;
  /** One LZ4 block. Returns its length, or 0 if it does not fit into `dstCapacity`. */
  lz4Compress(src: Pointer, srcBytes: number, dst: Pointer, dstCapacity: number): number;
  /** Fills exactly `dstBytes`. Returns `dstBytes` or a negative code. */
  lz4Decompress(src: Pointer, srcBytes: number, dst: Pointer, dstBytes: number): number;
  /**
   * window[start, start + bytes) as an LZ4 block of its own that may refer back to window[0, start), at most
   * 64 KiB. `fresh` forgets earlier windows. Returns the length, or 0 if it does not fit.
   */
  lz4CompressLinked(
    window: Pointer,
    start: number,
    bytes: number,
    dst: Pointer,
    dstCapacity: number,
    fresh: boolean,
  ): number;
  /** Fills exactly window[start, start + bytes). Returns `bytes` or a negative code. */
  lz4DecompressLinked(src: Pointer, srcBytes: number, window: Pointer, start: number, bytes: number): number;

  /** Keyed BLAKE3 of one page of 4096 bytes, first 16 bytes. The key has 32 bytes. */
  pageDigest(page: Pointer, key: Pointer, out: Pointer): void;
  /** The same for `count` contiguous pages: 16 bytes each. Faster a page from four pages on. */
  pageDigests(pages: Pointer, count: number, key: Pointer, out: Pointer): void;
  /**
   * One tree level: keyed BLAKE3, first 16 bytes, of each group of 64 children of 16 bytes; the last group may be
   * shorter. `out` may be `children`. Returns the number of groups.
   */
  nodeDigests(children: Pointer, count: number, key: Pointer, out: Pointer): number;
  /** BLAKE3 of any length; `key` 0 is the plain hash; `outBytes` at most 64. */
  blake3Hash(pointer: Pointer, bytes: number, key: Pointer, out: Pointer, outBytes: number): void;
  /** Bytes of the state of an incremental hash. */
  blake3StateBytes(): number;
  /** Begins a hash; `key` 0 is the plain hash. */
  blake3Init(state: Pointer, key: Pointer): void;
  /** Takes the next bytes. */
  blake3Update(state: Pointer, pointer: Pointer, bytes: number): void;
  /** Writes the digest of what came so far; more may follow. `outBytes` at most 64. */
  blake3Final(state: Pointer, out: Pointer, outBytes: number): void;
};

/** A core as far as functions over byte arrays need it: kernels, memory, blocks of memory. */
export type CoreMemory = {
  readonly raw: Kernels;
  /** All of the memory. Ask again after anything that may allocate: growing the memory detaches old views. */
  bytes(): Uint8Array<ArrayBuffer>;
  /** A block of memory, not zeroed, aligned to 16 bytes. Throws RangeError if there is no room. */
  allocate(bytes: number): Pointer;
  /** Gives a block back. */
  release(pointer: Pointer): void;
};
