/**
 * Windows of the core's memory: the caller writes pages straight into one, functions over many pages work on it in
 * place, and results are read where they stand. Nothing is copied between JavaScript and the core.
 */
import type { CoreMemory, Pointer } from "./kernels.ts";

/** A block of the core's memory with its length. */
export type MemoryWindow = {
  /** Where it begins in the core's memory; aligned to 16 bytes. Throws TypeError after `release`. */
  readonly pointer: Pointer;
  readonly lengthBytes: number;
  /**
   * Its bytes, not a copy. Ask again after anything that may allocate: growing the memory detaches old views.
   * Throws TypeError after `release`.
   */
  bytes(): Uint8Array<ArrayBuffer>;
  /** Gives the memory back to the core, for later windows. More than once does no harm. */
  release(): void;
};

/**
 * A window of `lengthBytes` zeroes in the core's memory, less than 1 GiB. Throws RangeError if there is no room.
 *
 * @example
 * const core = await loadCore();
 * const window = openWindow(core, 8 * 4096);
 * window.bytes().fill(7, 0, 4096);
 * window.release();
 */
export function openWindow(core: CoreMemory, lengthBytes: number): MemoryWindow {
  const start = core.allocate(lengthBytes);
  core.bytes().fill(0, start, start + lengthBytes);
  let isOpen = true;
  const requireOpen = (): Pointer => {
    if (!isOpen) throw new TypeError("Cannot use this window: it was released");
    return start;
  };
  return {
    get pointer() {
      return requireOpen();
    },
    lengthBytes,
    bytes() {
      const from = requireOpen();
      return core.bytes().subarray(from, from + lengthBytes);
    },
    release() {
      if (isOpen) core.release(start);
      isOpen = false;
    },
  };
}
