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
  const end8 = bitmap + ((bits >> 9) << 6);
  while (p != end8) {
    const first = popcnt(load<u64>(p)) + popcnt(load<u64>(p, 8));
    const second = popcnt(load<u64>(p, 16)) + popcnt(load<u64>(p, 24));
    const third = popcnt(load<u64>(p, 32)) + popcnt(load<u64>(p, 40));
    const fourth = popcnt(load<u64>(p, 48)) + popcnt(load<u64>(p, 56));
    count += first + second + (third + fourth);
    p += 64;
  }
  let rest = bits & 511;
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

/**
 * Lists runs of set bits from bit `from` on: first bit and length of each as two u32 at `out`, at most `max` runs.
 * Returns how many; where that is `max`, more may follow after the last one.
 */
export function bitmapRuns(bitmap: usize, bits: u32, from: u32, out: usize, max: u32): u32 {
  if (from >= bits || max == 0) return 0;
  const outEnd = out + ((<usize>max) << 3);
  let p = out;
  let at = from & ~63;
  // Bits of the word at `at` that were not visited yet.
  let word = wordAt(bitmap, bits, at) & (~(<u64>0) << (from & 63));
  while (true) {
    while (word == 0) {
      at += 64;
      if (at >= bits) return <u32>((p - out) >> 3);
      word = wordAt(bitmap, bits, at);
    }
    const first = at + <u32>ctz(word);
    let clear = ~(word | (word - 1));
    while (clear == 0) {
      at += 64;
      word = at < bits ? wordAt(bitmap, bits, at) : 0;
      clear = ~word;
    }
    const inWord = ctz(clear);
    store<u64>(p, <u64>first | ((<u64>(at + <u32>inWord - first)) << 32));
    p += 8;
    if (p == outEnd) return max;
    word &= ~(<u64>0) << inWord;
  }
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

/** The 64 bits from bit `at` on, a multiple of 64 below `bits`; those past the end are 0. */
function wordAt(bitmap: usize, bits: u32, at: u32): u64 {
  const p = bitmap + (at >> 3);
  const rest = bits - at;
  if (rest >= 64) return load<u64>(p);
  let word: u64 = 0;
  for (let bit: u32 = 0; bit < rest; bit += 8) word |= (<u64>load<u8>(p + (bit >> 3))) << bit;
  return word & (((<u64>1) << rest) - 1);
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
