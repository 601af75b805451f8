/** Disk images, read only: raw, qcow2, and chains of them. */

export type { ByteSource } from "./byte-source.ts";
export type { BackingReference, DiskImage, ImageFormat, RangeKind, RangeStatus } from "./disk-image.ts";
export * from "./image-chain.ts";
export * from "./open-image.ts";
export type { Decompress, Decompressors } from "./qcow2-image.ts";
