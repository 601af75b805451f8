/**
 * Page delta: the 8-byte words of a page that differ from a base page, as new values.
 *
 *   page      64 groups of 8 words of 8 bytes
 *   masks     top:u64le group-mask:u8{popcount(top)}     8 to 72 bytes
 *             bit g of top: group g changed; bit w of its group mask: word w of the group changed
 *   literals  word:u64le{sum of popcount(group-mask)}    0 to 4096 bytes, in page order
 *
 * Top and group masks are never 0. New values, not XOR: applying a delta twice is harmless.
 */
import { CODE_TRUNCATED, CODE_ZERO_MASK } from "./codes";

const GROUP_BYTES: usize = 64;
const TOP_BYTES: usize = 8;

/**
 * Writes the masks (at most 72 bytes) and the literals (at most 4096 bytes) that turn `base` into `page`.
 * Returns maskBytes | changedWords << 8, or 0, with nothing written, if the pages are equal.
 */
export function deltaEncode(page: usize, base: usize, masksOut: usize, literalsOut: usize): i32 {
  let top: u64 = 0;
  let masks = masksOut + TOP_BYTES;
  let literals = literalsOut;
  for (let group: u64 = 0; group < 64; group++) {
    const p0 = v128.load(page);
    const p1 = v128.load(page, 16);
    const p2 = v128.load(page, 32);
    const p3 = v128.load(page, 48);
    const b0 = v128.load(base);
    const b1 = v128.load(base, 16);
    const b2 = v128.load(base, 32);
    const b3 = v128.load(base, 48);
    const d0 = v128.xor(p0, b0);
    const d1 = v128.xor(p1, b1);
    const d2 = v128.xor(p2, b2);
    const d3 = v128.xor(p3, b3);
    if (v128.any_true(v128.or(v128.or(d0, d1), v128.or(d2, d3)))) {
      let mask: i32 =
        i64x2.bitmask(i64x2.ne(p0, b0)) |
        (i64x2.bitmask(i64x2.ne(p1, b1)) << 2) |
        (i64x2.bitmask(i64x2.ne(p2, b2)) << 4) |
        (i64x2.bitmask(i64x2.ne(p3, b3)) << 6);
      top |= (<u64>1) << group;
      store<u8>(masks++, mask);
      if (mask == 0xff) {
        v128.store(literals, p0);
        v128.store(literals, p1, 16);
        v128.store(literals, p2, 32);
        v128.store(literals, p3, 48);
        literals += 64;
      } else {
        do {
          store<u64>(literals, load<u64>(page + ((<usize>ctz(mask)) << 3)));
          literals += 8;
          mask &= mask - 1;
        } while (mask != 0);
      }
    }
    page += GROUP_BYTES;
    base += GROUP_BYTES;
  }
  if (top == 0) return 0;
  store<u64>(masksOut, top);
  return <i32>((masks - masksOut) | ((literals - literalsOut) << 5));
}

/**
 * Applies a delta to `page`, which holds the base. `masks` and `literals` may be followed by those of other
 * deltas. Returns maskBytesUsed | words << 8, or a negative code with the page untouched.
 */
export function deltaApply(
  page: usize,
  masks: usize,
  masksBytes: usize,
  literals: usize,
  literalBytes: usize,
): i32 {
  if (masksBytes < TOP_BYTES) return CODE_TRUNCATED;
  let top = load<u64>(masks);
  if (top == 0) return CODE_ZERO_MASK;
  const groups = <usize>popcnt(top);
  if (masksBytes - TOP_BYTES < groups) return CODE_TRUNCATED;
  const end = masks + TOP_BYTES + groups;
  let words: usize = 0;
  let p = masks + TOP_BYTES;
  while (p != end) {
    const mask = <u32>load<u8>(p++);
    if (mask == 0) return CODE_ZERO_MASK;
    words += popcnt(mask);
  }
  if (literalBytes >>> 3 < words) return CODE_TRUNCATED;

  p = masks + TOP_BYTES;
  while (top != 0) {
    const group = page + <usize>(ctz(top) << 6);
    top &= top - 1;
    let mask = <u32>load<u8>(p++);
    if (mask == 0xff) {
      v128.store(group, v128.load(literals));
      v128.store(group, v128.load(literals, 16), 16);
      v128.store(group, v128.load(literals, 32), 32);
      v128.store(group, v128.load(literals, 48), 48);
      literals += 64;
    } else {
      do {
        store<u64>(group + ((<usize>ctz(mask)) << 3), load<u64>(literals));
        literals += 8;
        mask &= mask - 1;
      } while (mask != 0);
    }
  }
  return <i32>((TOP_BYTES + groups) | (words << 8));
}
