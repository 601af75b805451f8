/**
 * The core for embedders that have byte arrays and no pointers: every call copies its arguments in and its result
 * out, 3 to 7 microseconds each. What handles many pages uses `loadCore` and its kernels.
 *
 *   const core = await loadArrayCore();
 *   const block = core.compress(new Uint8Array(4096));
 *   core.decompress(block, 4096); // 4096 zero bytes
 */
import { bindArrays } from "./array-binding.ts";
import { checkCoreResult } from "./codes.ts";
import { type CoreSource, compileCore } from "./module.ts";

const PAGE_BYTES = 4096;
const KEY_BYTES = 32;
/** Largest array; results of the core are signed 32-bit lengths, and inputs and outputs share 4 GiB. */
const ARRAY_BYTES_MAX = 2 ** 29;

type Bytes = Uint8Array<ArrayBuffer>;

/** Array-in, array-out functions. Wrong lengths of arguments throw RangeError. */
export type ArrayCore = {
  /** One LZ4 block. */
  compress(data: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The `length` bytes of an LZ4 block. Throws FormatError if it does not decode to exactly so many. */
  decompress(block: Uint8Array, length: number): Uint8Array<ArrayBuffer>;
  /** Keyed BLAKE3 of a page (4096 bytes) under a key (32 bytes): 16 bytes. */
  pageDigest(page: Uint8Array, key: Uint8Array): Uint8Array<ArrayBuffer>;
  /** BLAKE3, keyed if a key is given; `length` (32 by default) is 1 to 64. */
  blake3(data: Uint8Array, key?: Uint8Array, length?: number): Uint8Array<ArrayBuffer>;
  /** Masks and literals that turn page `base` into `page` (grammar in assembly/delta.ts); empty if equal. */
  diffPages(page: Uint8Array, base: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The page that `diff` makes of page `base`. Throws FormatError for a bad diff. */
  applyDiff(base: Uint8Array, diff: Uint8Array): Uint8Array<ArrayBuffer>;
  /** Number of set bits among the first `bits`. */
  bitmapCount(bitmap: Uint8Array, bits: number): number;
  /** a | b, of equal lengths. */
  bitmapOr(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer>;
  /** a & b, of equal lengths. */
  bitmapAnd(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer>;
  /** a & ~b, of equal lengths. */
  bitmapAndNot(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer>;
};

type BoundFunctions = {
  lastCode(): number;
  arrayCompress(data: Uint8Array): Bytes;
  arrayDecompress(block: Uint8Array, length: number): Bytes;
  arrayPageDigest(page: Uint8Array, key: Uint8Array): Bytes;
  arrayHash(data: Uint8Array, key: Uint8Array, length: number): Bytes;
  arrayDiffPages(page: Uint8Array, base: Uint8Array): Bytes;
  arrayApplyDiff(base: Uint8Array, diff: Uint8Array): Bytes;
  arrayBitmapCount(bitmap: Uint8Array, bits: number): number;
  arrayBitmapOr(a: Uint8Array, b: Uint8Array): Bytes;
  arrayBitmapAnd(a: Uint8Array, b: Uint8Array): Bytes;
  arrayBitmapAndNot(a: Uint8Array, b: Uint8Array): Bytes;
};

const NO_KEY = new Uint8Array(0);

/** Options of `loadArrayCore`. */
export type ArrayCoreOptions = {
  /** The core's module, where the package's own constant is not to be used. */
  wasm?: CoreSource | PromiseLike<CoreSource>;
};

/** Instantiates the core with its array functions, in a memory of its own. Throws what `compileCore` throws. */
export async function loadArrayCore(options: ArrayCoreOptions = {}): Promise<ArrayCore> {
  const bound = await bindArrays<BoundFunctions>(await compileCore(options.wasm));
  const checked = (result: Bytes, action: string): Bytes => {
    checkCoreResult(bound.lastCode(), action);
    return result;
  };
  return {
    compress(data) {
      requireLength("compress", data.length, 0, ARRAY_BYTES_MAX);
      return bound.arrayCompress(data);
    },
    decompress(block, length) {
      requireLength("decompress a block", block.length, 0, ARRAY_BYTES_MAX);
      requireLength("decompress into an array", length, 0, ARRAY_BYTES_MAX);
      return checked(bound.arrayDecompress(block, length), "decompress the block");
    },
    pageDigest(page, key) {
      requireLength("digest a page", page.length, PAGE_BYTES, PAGE_BYTES);
      requireLength("digest with a key", key.length, KEY_BYTES, KEY_BYTES);
      return bound.arrayPageDigest(page, key);
    },
    blake3(data, key, length = 32) {
      requireLength("hash", data.length, 0, ARRAY_BYTES_MAX);
      if (key !== undefined) requireLength("hash with a key", key.length, KEY_BYTES, KEY_BYTES);
      requireLength("make a digest", length, 1, 64);
      return bound.arrayHash(data, key ?? NO_KEY, length);
    },
    diffPages(page, base) {
      requireLength("diff a page", page.length, PAGE_BYTES, PAGE_BYTES);
      requireLength("diff against a base", base.length, PAGE_BYTES, PAGE_BYTES);
      return bound.arrayDiffPages(page, base);
    },
    applyDiff(base, diff) {
      requireLength("apply a diff to a base", base.length, PAGE_BYTES, PAGE_BYTES);
      requireLength("apply a diff", diff.length, 0, ARRAY_BYTES_MAX);
      return checked(bound.arrayApplyDiff(base, diff), "apply the diff");
    },
    bitmapCount(bitmap, bits) {
      requireLength("count bits", bits, 0, bitmap.length * 8);
      requireLength("count bits of a bitmap", bitmap.length, 0, ARRAY_BYTES_MAX / 4);
      return bound.arrayBitmapCount(bitmap, bits);
    },
    bitmapOr: (a, b) => bound.arrayBitmapOr(...bitmapPair(a, b)),
    bitmapAnd: (a, b) => bound.arrayBitmapAnd(...bitmapPair(a, b)),
    bitmapAndNot: (a, b) => bound.arrayBitmapAndNot(...bitmapPair(a, b)),
  };
}

function bitmapPair(a: Uint8Array, b: Uint8Array): [a: Uint8Array, b: Uint8Array] {
  requireLength("combine bitmaps", a.length, 0, ARRAY_BYTES_MAX);
  requireLength("combine bitmaps", b.length, a.length, a.length);
  return [a, b];
}

function requireLength(action: string, length: number, min: number, max: number): void {
  if (Number.isInteger(length) && length >= min && length <= max) return;
  const wanted = min === max ? `${min}` : `${min} to ${max}`;
  throw new RangeError(`Cannot ${action}: length ${length} is not ${wanted}`);
}
