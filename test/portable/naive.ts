/** Naive twins of the core's functions, byte by byte, to hold the core against. */

const PAGE_BYTES = 4096;
const WORD_BYTES = 8;
const GROUP_WORDS = 8;

/** Masks and literals that turn `base` into `page`, as docs/FORMAT.md has them. */
export function naiveDiff(page: Uint8Array, base: Uint8Array): Uint8Array {
  const top = new Uint8Array(8);
  const [masks, literals]: [number[], number[]] = [[], []];
  for (let group = 0; group < PAGE_BYTES / WORD_BYTES / GROUP_WORDS; group++) {
    let mask = 0;
    for (let word = 0; word < GROUP_WORDS; word++) {
      const from = (group * GROUP_WORDS + word) * WORD_BYTES;
      const value = page.subarray(from, from + WORD_BYTES);
      if (value.every((byte, i) => byte === base[from + i])) continue;
      mask |= 1 << word;
      literals.push(...value);
    }
    if (mask === 0) continue;
    top[group >> 3]! |= 1 << (group & 7);
    masks.push(mask);
  }
  return masks.length === 0 ? new Uint8Array(0) : Uint8Array.from([...top, ...masks, ...literals]);
}

/** The bytes of an LZ4 block (lz4_Block_format.md of the LZ4 project); throws if it ends early. */
export function naiveLz4(block: Uint8Array): Uint8Array {
  const out: number[] = [];
  let at = 0;
  const next = (): number => {
    if (at >= block.length) throw new Error("the block ends early");
    return block[at++]!;
  };
  const extended = (nibble: number): number => {
    let length = nibble;
    if (nibble === 15) {
      let more: number;
      do {
        more = next();
        length += more;
      } while (more === 255);
    }
    return length;
  };
  while (at < block.length) {
    const token = next();
    for (let left = extended(token >> 4); left > 0; left--) out.push(next());
    if (at === block.length) break;
    const offset = next() | (next() << 8);
    for (let left = extended(token & 15) + 4; left > 0; left--) out.push(out[out.length - offset]!);
  }
  return Uint8Array.from(out);
}

/** Number of set bits among the first `bits`. */
export function naiveCount(bitmap: Uint8Array, bits: number): number {
  let count = 0;
  for (let bit = 0; bit < bits; bit++) count += (bitmap[bit >> 3]! >> (bit & 7)) & 1;
  return count;
}
