/** A VM's key as text: 64 hexadecimal digits, as the key file has them. */

import { fromHex } from "../../../src/bytes.ts";

/** A key file is not longer than this; anything else is not read. */
export const maxKeyFileBytes = 1024;

/** The key of 32 bytes; null if the text is none. White space around it does not count. */
export function parseKey(text: string): Uint8Array | null {
  const digits = text.trim();
  return /^[0-9a-fA-F]{64}$/.test(digits) ? fromHex(digits) : null;
}
