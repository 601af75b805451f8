/** The WASM surface. Pointers are byte addresses in linear memory; how arrays are bound is in wasm-build/. */
export {
  arrayApplyDiff,
  arrayBitmapAnd,
  arrayBitmapAndNot,
  arrayBitmapCount,
  arrayBitmapOr,
  arrayCompress,
  arrayDecompress,
  arrayDiffPages,
  arrayHash,
  arrayPageDigest,
  lastCode,
} from "./arrays";
export {
  bitmapAnd,
  bitmapAndNot,
  bitmapClear,
  bitmapCount,
  bitmapNextClear,
  bitmapNextSet,
  bitmapOr,
  bitmapRuns,
  bitmapSet,
  bitmapSetRange,
  bitmapTest,
} from "./bitmap";
export { blake3Final, blake3Hash, blake3Init, blake3StateBytes, blake3Update } from "./blake3";
export { nodeDigests, pageDigest, pageDigests } from "./blake3-pages";
export {
  CODE_BAD_OFFSET,
  CODE_OVERRUN,
  CODE_SHORT_OUTPUT,
  CODE_TRUNCATED,
  CODE_ZERO_MASK,
} from "./codes";
export { isZero, pagesDiffer, pagesEqual } from "./compare";
export { deltaApply, deltaEncode } from "./delta";
export { lz4Bound, lz4Compress, lz4CompressLinked } from "./lz4-compress";
export { lz4Decompress, lz4DecompressLinked } from "./lz4-decompress";
export { allocate, copy, release } from "./memory";
