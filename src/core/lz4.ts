/** LZ4 blocks over byte arrays outside the core's memory, for frames and files rather than pages. */
import { checkCoreResult } from "./codes.ts";
import type { CoreMemory } from "./kernels.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** `input` as one LZ4 block, or null if that is not smaller than the input. */
export function compressBytes(core: CoreMemory, input: Uint8Array): Bytes | null {
  if (input.length < 2) return null;
  const capacity = input.length - 1;
  const block = core.allocate(input.length + capacity);
  try {
    core.bytes().set(input, block);
    const out = block + input.length;
    const length = core.raw.lz4Compress(block, input.length, out, capacity);
    return length === 0 ? null : core.bytes().slice(out, out + length);
  } finally {
    core.release(block);
  }
}

/**
 * The `length` bytes of an LZ4 block. Throws FormatError if it does not decode to exactly so many. The caller
 * has checked `length` against its format's maximum: that much is allocated.
 */
export function decompressBytes(core: CoreMemory, input: Uint8Array, length: number): Bytes {
  const block = core.allocate(input.length + length);
  try {
    core.bytes().set(input, block);
    const out = block + input.length;
    checkCoreResult(core.raw.lz4Decompress(block, input.length, out, length), "decompress an LZ4 block");
    return core.bytes().slice(out, out + length);
  } finally {
    core.release(block);
  }
}
