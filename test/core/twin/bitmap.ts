/** Bitmaps as arrays of booleans. */

/** The bits of a bitmap, bit i in byte i >> 3, lowest bit first. */
export function bitsOf(bytes: Uint8Array): boolean[] {
  return Array.from({ length: bytes.length * 8 }, (_, i) => ((bytes[i >> 3]! >> (i & 7)) & 1) === 1);
}

/** The bitmap of these bits. */
export function bytesOfBits(bits: boolean[]): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => {
    if (bit) bytes[i >> 3]! |= 1 << (i & 7);
  });
  return bytes;
}

/** Index of the first bit with `value` at or after `from` among the first `count`, or `count`. */
export function nextTwin(bits: boolean[], count: number, from: number, value: boolean): number {
  for (let i = from; i < count; i++) if (bits[i] === value) return i;
  return count;
}
