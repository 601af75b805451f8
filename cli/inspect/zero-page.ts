/** Recognises pages of zeroes in bytes outside the core's memory. */

import { pageBytes } from "../../src/delta/vocabulary.ts";

/** True if the 4096 bytes at `bytes[at]` are zero. */
export function isZeroPage(bytes: Uint8Array, at: number): boolean {
  for (let i = at; i < at + pageBytes; i++) if (bytes[i] !== 0) return false;
  return true;
}
