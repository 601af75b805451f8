/** bfmig for embedding: the core, QEMU's stream, the delta and generation formats. No I/O, no platform API. */

export * from "./core/arrays.ts";
export {
  type Core,
  CoreCode,
  type CoreHasher,
  type CoreOptions,
  checkCoreResult,
  type Kernels,
  loadCore,
  type Pointer,
} from "./core.ts";
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
export * from "./generation/block-digests.ts";
export * from "./generation/digest-tree.ts";
export * from "./generation/disks.ts";
export * from "./generation/geometry.ts";
export * from "./generation/manifest.ts";
export * from "./qemu-stream/index.ts";
