/**
 * The array-in, array-out surface for embedders, bound by as-bind. Each call copies its arguments and its result;
 * the hot path uses the pointer functions. Where input is bad the result is empty and `lastCode` says why.
 */
import { bitmapAnd, bitmapAndNot, bitmapCount, bitmapOr } from "./bitmap";
import { blake3Hash } from "./blake3";
import { pageDigest } from "./blake3-pages";
import { CODE_TRUNCATED } from "./codes";
import { deltaApply, deltaEncode } from "./delta";
import { lz4Bound, lz4Compress } from "./lz4-compress";
import { lz4Decompress } from "./lz4-decompress";

const PAGE: i32 = 4096;
const DELTA_MASKS_MAX: i32 = 72;

let code: i32 = 0;

/** Result of the last call that decodes: 0 or a negative code. */
export function lastCode(): i32 {
  return code;
}

/** One LZ4 block. */
export function arrayCompress(data: Uint8Array): Uint8Array {
  const bound = <i32>lz4Bound(data.length);
  const out = new Uint8Array(bound);
  return out.subarray(0, lz4Compress(data.dataStart, data.length, out.dataStart, bound));
}

/** The `length` bytes of an LZ4 block. */
export function arrayDecompress(data: Uint8Array, length: i32): Uint8Array {
  const out = new Uint8Array(length);
  code = min(0, lz4Decompress(data.dataStart, data.length, out.dataStart, length));
  return code < 0 ? new Uint8Array(0) : out;
}

/** Digest of one page (4096 bytes) under a key of 32 bytes: 16 bytes. */
export function arrayPageDigest(page: Uint8Array, key: Uint8Array): Uint8Array {
  const out = new Uint8Array(16);
  pageDigest(page.dataStart, key.dataStart, out.dataStart);
  return out;
}

/** BLAKE3 of `data`, plain if `key` is empty, `length` bytes up to 64. */
export function arrayHash(data: Uint8Array, key: Uint8Array, length: i32): Uint8Array {
  const out = new Uint8Array(length);
  blake3Hash(data.dataStart, data.length, key.length == 0 ? 0 : key.dataStart, out.dataStart, length);
  return out;
}

/** Masks and literals, one after the other, that turn page `base` into `page`; empty if they are equal. */
export function arrayDiffPages(page: Uint8Array, base: Uint8Array): Uint8Array {
  const out = new Uint8Array(DELTA_MASKS_MAX + PAGE);
  const literals = out.dataStart + DELTA_MASKS_MAX;
  const sizes = deltaEncode(page.dataStart, base.dataStart, out.dataStart, literals);
  const maskBytes = sizes & 0xff;
  const literalBytes = (sizes >> 8) << 3;
  memory.copy(out.dataStart + maskBytes, literals, literalBytes);
  return out.subarray(0, maskBytes + literalBytes);
}

/** The page that `diff` makes of `base`. */
export function arrayApplyDiff(base: Uint8Array, diff: Uint8Array): Uint8Array {
  const page = base.slice(0, PAGE);
  code = 0;
  if (diff.length == 0) return page;
  code = CODE_TRUNCATED;
  if (diff.length < 8) return new Uint8Array(0);
  const maskBytes = 8 + <i32>popcnt(load<u64>(diff.dataStart));
  if (diff.length < maskBytes) return new Uint8Array(0);
  const literals = diff.dataStart + maskBytes;
  code = min(0, deltaApply(page.dataStart, diff.dataStart, maskBytes, literals, diff.length - maskBytes));
  return code < 0 ? new Uint8Array(0) : page;
}

/** Number of set bits among the first `bits`. */
export function arrayBitmapCount(bitmap: Uint8Array, bits: u32): u32 {
  return bitmapCount(bitmap.dataStart, bits);
}

/** a | b, of equal lengths. */
export function arrayBitmapOr(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = a.slice();
  bitmapOr(out.dataStart, b.dataStart, out.length);
  return out;
}

/** a & b, of equal lengths. */
export function arrayBitmapAnd(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = a.slice();
  bitmapAnd(out.dataStart, b.dataStart, out.length);
  return out;
}

/** a & ~b, of equal lengths. */
export function arrayBitmapAndNot(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = a.slice();
  bitmapAndNot(out.dataStart, b.dataStart, out.length);
  return out;
}
