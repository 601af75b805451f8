/** bfmig for embedding: the core, QEMU's stream, the delta and generation formats. No I/O, no platform API. */

export { fromHex, toHex } from "./bytes.ts";
export * from "./core/arrays.ts";
export * from "./core/memory-window.ts";
export * from "./core/page-batch.ts";
export {
  type Core,
  CoreCode,
  type CoreHasher,
  type CoreMemory,
  type CoreOptions,
  type CoreSource,
  checkCoreResult,
  compileCore,
  coreWasmBytes,
  type Kernels,
  loadCore,
  type Pointer,
  type Zstd,
} from "./core.ts";
export * from "./delta/batch-encoder.ts";
export * from "./delta/block-encoder.ts";
export * from "./delta/change-encoder.ts";
export * from "./delta/device-frames.ts";
export * from "./delta/digest-frames.ts";
export * from "./delta/frame.ts";
export * from "./delta/frame-sequence.ts";
export * from "./delta/header-frame.ts";
export * from "./delta/moved-index.ts";
export * from "./delta/page-decoder.ts";
export * from "./delta/page-encoder.ts";
export * from "./delta/vocabulary.ts";
export * from "./disk/index.ts";
export { FormatError, type FormatErrorCode } from "./errors.ts";
export * from "./generation/block-digest-layout.ts";
export type { BlockRun as DigestRun } from "./generation/block-digest-walks.ts";
export * from "./generation/block-digests.ts";
export * from "./generation/digest-tree.ts";
export * from "./generation/disks.ts";
export * from "./generation/geometry.ts";
export * from "./generation/manifest.ts";
export * from "./predict/index.ts";
export * from "./qemu-stream/index.ts";
export type { GenerationInput } from "./verify/generation-files.ts";
export { CorePageHasher, maxRangePages, type PageHasher, type PageRange } from "./verify/page-hashing.ts";
export {
  accessBlob,
  accessBytes,
  accessFileHandle,
  type RandomAccess,
  SourceError,
} from "./verify/random-access.ts";
export type { VerifyFinding, VerifyNote, VerifyProgress } from "./verify/report.ts";
export { accessUrl, type UrlOptions } from "./verify/url-access.ts";
export {
  type GenerationsReport,
  type GenerationVerdict,
  type VerifyGenerationsOptions,
  verifyGenerations,
} from "./verify/verify-generations.ts";
