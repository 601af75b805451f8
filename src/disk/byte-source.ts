/** Where images are read from: a file, or anything else that has bytes at positions. */

import { FormatError } from "../errors.ts";

/** Bytes that can be read at any position. They must not change while an image is open over them. */
export interface ByteSource {
  readonly sizeBytes: number;
  /**
   * Fills `length` bytes at `target` in `memory` from position `at` on. Returns the number of bytes read, which is
   * less than `length` only at the end of the source.
   */
  read(memory: Uint8Array, target: number, length: number, at: number): number;
  /** Frees what reading needs. */
  close(): void;
}

/** Reads exactly `length` bytes. Throws FormatError "truncated", which names `what`, if the source ends before. */
export function readExactly(
  source: ByteSource,
  memory: Uint8Array,
  target: number,
  length: number,
  at: number,
  what: string,
): void {
  const got = source.read(memory, target, length, at);
  if (got !== length) {
    throw new FormatError(
      "truncated",
      `Cannot read ${what}: ${length} bytes needed, ${got} are there`,
      at + got,
    );
  }
}
