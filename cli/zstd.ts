/** The zstd that legs use: Node's own where it has one (22.15 and later), else one in WASM. Both are synchronous. */

import * as zlib from "node:zlib";
import * as wasm from "@bokuweb/zstd-wasm";
import type { Zstd } from "../src/core.ts";

/** What newer versions of `node:zlib` have. */
interface NativeZstd {
  zstdCompressSync(plain: Uint8Array, options: { params: Record<number, number> }): Uint8Array;
  zstdDecompressSync(frame: Uint8Array, options: { maxOutputLength: number }): Uint8Array;
  readonly constants: { readonly ZSTD_c_compressionLevel: number };
}

let loaded: Promise<Zstd> | null = null;
/** Initialised again it would exchange its memory while it is used. */
let wasmReady: Promise<void> | null = null;

/** The zstd of this process; loaded once. */
export function loadZstd(): Promise<Zstd> {
  loaded ??= nativeZstd(zlib) ?? wasmZstd();
  return loaded;
}

/** Node's own; null in a version that has none. */
export function nativeZstd(from: object): Promise<Zstd> | null {
  if (!("zstdCompressSync" in from) || !("zstdDecompressSync" in from)) return null;
  const native = from as NativeZstd;
  const { ZSTD_c_compressionLevel: levelKey } = native.constants;
  return Promise.resolve({
    compress: (plain, level) => native.zstdCompressSync(plain, { params: { [levelKey]: level } }),
    decompress: (frame, length) => native.zstdDecompressSync(frame, { maxOutputLength: length }),
  });
}

/** The one in WASM. It takes the length of what it decompresses from the frame, which the core has checked. */
export async function wasmZstd(): Promise<Zstd> {
  wasmReady ??= wasm.init();
  await wasmReady;
  return { compress: wasm.compress, decompress: (frame) => wasm.decompress(frame) };
}
