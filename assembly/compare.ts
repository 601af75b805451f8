/** Tests on whole pages: all bytes zero, two pages equal. Each iteration looks at one 64-byte cache line. */

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
