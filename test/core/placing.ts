/** Puts test data into the core's memory, between guard bytes that must stay as they are. */
import type { Core, Pointer } from "../../src/core.ts";

const GUARD_BYTES = 64;
const GUARD = 0xa5;

/** A placed area; `bytes()` copies it out, `intact()` says whether the guards on both sides are unchanged. */
export type Placed = { pointer: Pointer; bytes(): Uint8Array; intact(): boolean; release(): void };

/** Places a copy of `content` (or that many zero bytes), `skew` bytes off a 16-byte boundary. */
export function place(core: Core, content: Uint8Array | number, skew = 0): Placed {
  const data = typeof content === "number" ? new Uint8Array(content) : content;
  const block = core.allocate(data.length + skew + GUARD_BYTES * 2);
  const pointer = block + GUARD_BYTES + skew;
  const end = pointer + data.length;
  core.bytes().fill(GUARD, block, end + GUARD_BYTES);
  core.bytes().set(data, pointer);
  return {
    pointer,
    bytes: () => core.bytes().slice(pointer, end),
    intact: () =>
      core
        .bytes()
        .subarray(block, pointer)
        .every((byte) => byte === GUARD) &&
      core
        .bytes()
        .subarray(end, end + GUARD_BYTES)
        .every((byte) => byte === GUARD),
    release: () => core.release(block),
  };
}

/** Bytes from a small generator, the same on every run; `values` below 256 makes them compressible. */
export function noise(length: number, seed: number, values = 256): Uint8Array {
  let state = seed >>> 0 || 1;
  return Uint8Array.from({ length }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % values;
  });
}
