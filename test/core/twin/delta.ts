/** The page delta of assembly/delta.ts, word by word. */

/** Masks and literals of one page. */
export type TwinDelta = { masks: Uint8Array; literals: Uint8Array; words: number };

const WORDS = 512;

/** Masks and literals that turn `base` into `page`; both empty if they are equal. */
export function deltaTwin(page: Uint8Array, base: Uint8Array): TwinDelta {
  const changed = Array.from({ length: WORDS }, (_, word) => {
    for (let i = word * 8; i < word * 8 + 8; i++) if (page[i] !== base[i]) return true;
    return false;
  });
  const literals: number[] = [];
  const groupMasks: number[] = [];
  let top = 0n;
  for (let group = 0; group < 64; group++) {
    let mask = 0;
    for (let word = 0; word < 8; word++) {
      const index = group * 8 + word;
      if (!changed[index]) continue;
      mask |= 1 << word;
      literals.push(...page.subarray(index * 8, index * 8 + 8));
    }
    if (mask === 0) continue;
    top |= 1n << BigInt(group);
    groupMasks.push(mask);
  }
  if (top === 0n) return { masks: new Uint8Array(0), literals: new Uint8Array(0), words: 0 };
  const masks = new Uint8Array(8 + groupMasks.length);
  new DataView(masks.buffer).setBigUint64(0, top, true);
  masks.set(groupMasks, 8);
  return { masks, literals: Uint8Array.from(literals), words: literals.length / 8 };
}
