/**
 * The WASM core behind one typed interface: kernels on pointers for the hot path, and hashing of byte arrays for
 * the cold ones. Each core has a memory of its own and is used by one thread.
 *
 *   const core = await loadCore();
 *   const page = core.allocate(4096);
 *   core.bytes().fill(7, page, page + 4096);
 *   core.raw.isZero(page, 4096); // 0
 */
import { type CoreHasher, createHasher, hashBytes } from "./core/hasher.ts";
import type { Kernels, Pointer } from "./core/kernels.ts";
import { compressBytes, decompressBytes } from "./core/lz4.ts";
import { type CoreSource, compileCore } from "./core/module.ts";
import type { Zstd } from "./core/zstd.ts";

export { CoreCode, checkCoreResult } from "./core/codes.ts";
export type { CoreHasher } from "./core/hasher.ts";
export type { CoreMemory, Kernels, Pointer } from "./core/kernels.ts";
export { type CoreSource, compileCore, coreWasmBytes } from "./core/module.ts";
export type { Zstd } from "./core/zstd.ts";

const WASM_PAGE_BYTES = 65536;
const MEMORY_BYTES_MAX = 65535 * WASM_PAGE_BYTES;
/** The allocator's largest block, less than 1 GiB. */
const ALLOCATION_BYTES_MAX = 2 ** 30 - 64;

/** Options of `loadCore`. */
export type CoreOptions = {
  /**
   * Memory to have from the start, in bytes, so that it need not grow (and views stay valid) later. The allocator
   * sorts free blocks by sixteenths of their size: give a tenth more than the sum of the blocks.
   */
  initialBytes?: number;
  /** The core's module, where the package's own constant is not to be used. */
  wasm?: CoreSource | PromiseLike<CoreSource>;
  /** A zstd of the platform. Without it frames in zstd are decompressed in plain TypeScript, more slowly. */
  zstd?: Zstd;
};

/** An instance of the core. */
export type Core = {
  /** The kernels, called with pointers. */
  readonly raw: Kernels;
  /** All of the memory. Ask again after anything that may allocate: growing the memory detaches old views. */
  bytes(): Uint8Array<ArrayBuffer>;
  /** A block of memory, not zeroed, aligned to 16 bytes. Throws RangeError if there is no room. */
  allocate(bytes: number): Pointer;
  /** Gives a block back. */
  release(pointer: Pointer): void;
  /** BLAKE3 of `bytes`, keyed if `key` (32 bytes) is given; `outBytes` (32 by default) is 1 to 64. */
  blake3(bytes: Uint8Array, key?: Uint8Array, outBytes?: number): Uint8Array<ArrayBuffer>;
  /** `bytes` as one LZ4 block, or null if that is not smaller. */
  lz4Compress(bytes: Uint8Array): Uint8Array<ArrayBuffer> | null;
  /** The `length` bytes of an LZ4 block. Throws FormatError if it does not decode to exactly so many. */
  lz4Decompress(block: Uint8Array, length: number): Uint8Array<ArrayBuffer>;
  /** The zstd that was given, if any. */
  readonly zstd: Zstd | null;
  /** An incremental hash; call its `release` when done. */
  createHasher(key?: Uint8Array): CoreHasher;
};

type Exports = Kernels & {
  /** Not shared: Deno's types allow for both. */
  memory: WebAssembly.Memory & { readonly buffer: ArrayBuffer };
  allocate(bytes: number): number;
  release(pointer: Pointer): void;
};

/**
 * Instantiates the core, with a memory of its own. Any number of cores live side by side. A core that is no longer
 * referred to goes with its memory when the platform collects garbage.
 *
 * Throws RangeError if `initialBytes` is not possible, and what `compileCore` throws for `wasm`.
 */
export async function loadCore(options: CoreOptions = {}): Promise<Core> {
  const instance = await WebAssembly.instantiate(await compileCore(options.wasm));
  const exports = instance.exports as unknown as Exports;
  growTo(exports.memory, options.initialBytes ?? 0);

  let view = new Uint8Array(exports.memory.buffer);
  const bytes = (): Uint8Array<ArrayBuffer> => {
    if (view.buffer !== exports.memory.buffer) view = new Uint8Array(exports.memory.buffer);
    return view;
  };
  const allocate = (size: number): Pointer => {
    if (!Number.isInteger(size) || size < 0 || size > ALLOCATION_BYTES_MAX) {
      throw new RangeError(`Cannot allocate ${size} bytes: a block has 0 to ${ALLOCATION_BYTES_MAX} bytes`);
    }
    try {
      return exports.allocate(size) >>> 0;
    } catch (cause) {
      throw new RangeError(`Cannot allocate ${size} bytes: the core's memory is full`, { cause });
    }
  };
  const release = (pointer: Pointer): void => exports.release(pointer);
  const memory = { raw: exports, bytes, allocate, release };
  return {
    ...memory,
    blake3: (input, key, outBytes = 32) => hashBytes(memory, input, key, outBytes),
    lz4Compress: (input) => compressBytes(memory, input),
    lz4Decompress: (block, length) => decompressBytes(memory, block, length),
    zstd: options.zstd ?? null,
    createHasher: (key) => createHasher(memory, key),
  };
}

/** Before the first allocation the allocator takes what the memory has, so it can simply be grown from here. */
function growTo(memory: WebAssembly.Memory, bytes: number): void {
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > MEMORY_BYTES_MAX) {
    throw new RangeError(`Cannot start with ${bytes} bytes of memory: the core has 0 to ${MEMORY_BYTES_MAX}`);
  }
  const missing = Math.ceil((bytes - memory.buffer.byteLength) / WASM_PAGE_BYTES);
  if (missing > 0) memory.grow(missing);
}
