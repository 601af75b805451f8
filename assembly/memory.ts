/** Blocks of linear memory for callers that work with pointers. The runtime aligns them to 16 bytes. */

/** Largest block; the runtime's allocator throws above 1 GiB less its own header. */
const ALLOCATION_MAX: usize = (1 << 30) - 64;

/** Returns a block of at least `bytes` bytes, not zeroed, or 0 if it is larger than the allocator's maximum. */
export function allocate(bytes: usize): usize {
  if (bytes > ALLOCATION_MAX) return 0;
  return heap.alloc(bytes);
}

/** Gives back a block from `allocate`. */
export function release(pointer: usize): void {
  heap.free(pointer);
}

/** Copies `bytes` bytes; the areas may overlap. */
export function copy(dst: usize, src: usize, bytes: usize): void {
  memory.copy(dst, src, bytes);
}
