/**
 * Bitmaps: bit i is bit (i & 7) of byte (i >> 3), so eight bytes load as one little-endian u64 of 64 bits.
 * A bitmap has fewer than 2^31 bits. No function touches a byte past the last one that holds a bit.
 */

/** Sets one bit. */
export function bitmapSet(bitmap: usize, bit: u32): void {
  const p = bitmap + (bit >> 3);
  store<u8>(p, load<u8>(p) | ((<u8>1) << (<u8>(bit & 7))));
}

/** Clears one bit. */
export function bitmapClear(bitmap: usize, bit: u32): void {
  const p = bitmap + (bit >> 3);
  store<u8>(p, load<u8>(p) & ~((<u8>1) << (<u8>(bit & 7))));
}

/** True if the bit is set. */
export function bitmapTest(bitmap: usize, bit: u32): bool {
  return ((load<u8>(bitmap + (bit >> 3)) >> <u8>(bit & 7)) & 1) != 0;
}

/** Sets `count` bits from bit `from` on. */
export function bitmapSetRange(bitmap: usize, from: u32, count: u32): void {
  let bit = from;
  const end = from + count;
  while (bit < end && (bit & 7) != 0) bitmapSet(bitmap, bit++);
  const wholeBytes = (end - bit) >> 3;
  if (wholeBytes != 0) {
    memory.fill(bitmap + (bit >> 3), 0xff, wholeBytes);
    bit += wholeBytes << 3;
  }
  while (bit < end) bitmapSet(bitmap, bit++);
}

/** Number of set bits among the first `bits`. Scalar: popcnt on u64 beats what WASM SIMD has for it. */
export function bitmapCount(bitmap: usize, bits: u32): u32 {
  let p = bitmap;
  let count: u64 = 0;
  const end4 = bitmap + ((bits >> 8) << 5);
  while (p != end4) {
    count += popcnt(load<u64>(p)) + popcnt(load<u64>(p, 8));
    count += popcnt(load<u64>(p, 16)) + popcnt(load<u64>(p, 24));
    p += 32;
  }
  let rest = bits & 255;
  while (rest >= 8) {
    count += popcnt(<u64>load<u8>(p++));
    rest -= 8;
  }
  if (rest != 0) count += popcnt(<u64>load<u8>(p) & (((<u64>1) << rest) - 1));
  return <u32>count;
}

/** First set bit at or after `from`, or `bits` if there is none. */
export function bitmapNextSet(bitmap: usize, bits: u32, from: u32): u32 {
  return nextBit(bitmap, bits, from, 0);
}

/** First clear bit at or after `from`, or `bits` if there is none. */
export function bitmapNextClear(bitmap: usize, bits: u32, from: u32): u32 {
  return nextBit(bitmap, bits, from, -1);
}

/** dst = dst | src. */
export function bitmapOr(dst: usize, src: usize, bytes: usize): void {
  const end = dst + bytes;
  while (end - dst >= 16) {
    v128.store(dst, v128.or(v128.load(dst), v128.load(src)));
    dst += 16;
    src += 16;
  }
  while (dst < end) {
    store<u8>(dst, load<u8>(dst) | load<u8>(src));
    dst++;
    src++;
  }
}

/** dst = dst & src. */
export function bitmapAnd(dst: usize, src: usize, bytes: usize): void {
  const end = dst + bytes;
  while (end - dst >= 16) {
    v128.store(dst, v128.and(v128.load(dst), v128.load(src)));
    dst += 16;
    src += 16;
  }
  while (dst < end) {
    store<u8>(dst, load<u8>(dst) & load<u8>(src));
    dst++;
    src++;
  }
}

/** dst = dst & ~src. */
export function bitmapAndNot(dst: usize, src: usize, bytes: usize): void {
  const end = dst + bytes;
  while (end - dst >= 16) {
    v128.store(dst, v128.andnot(v128.load(dst), v128.load(src)));
    dst += 16;
    src += 16;
  }
  while (dst < end) {
    store<u8>(dst, load<u8>(dst) & ~load<u8>(src));
    dst++;
    src++;
  }
}

/** Finds the first bit that is set after XOR with `flip` (0 or all ones). */
function nextBit(bitmap: usize, bits: u32, from: u32, flip: u64): u32 {
  if (from >= bits) return bits;
  const bytes = (bits + 7) >> 3;
  let byte = from >> 3;
  // The first byte alone, so that bits below `from` can be masked out.
  let word: u64 = ((<u64>load<u8>(bitmap + byte) ^ flip) & 0xff) >> (from & 7);
  if (word != 0) return min(from + <u32>ctz(word), bits);
  byte++;
  while (byte + 8 <= bytes) {
    word = load<u64>(bitmap + byte) ^ flip;
    if (word != 0) return min((byte << 3) + <u32>ctz(word), bits);
    byte += 8;
  }
  while (byte < bytes) {
    word = (<u64>load<u8>(bitmap + byte) ^ flip) & 0xff;
    if (word != 0) return min((byte << 3) + <u32>ctz(word), bits);
    byte++;
  }
  return bits;
}
