/** Which parts of a range have come, when they may come in any order but only once. */

/** Most separate parts that are kept in mind; servers answer nearly in order. */
const MAX_PARTS = 4096;

/** The parts of a range of `lengthBytes` that were added. Parts that touch are one. */
export class Coverage {
  readonly #lengthBytes: number;
  /** Sorted, disjoint, and none touches the next. */
  readonly #parts: { from: number; to: number }[] = [];

  constructor(lengthBytes: number) {
    this.#lengthBytes = lengthBytes;
  }

  /** Adds the part from `from` up to `to`; says what is wrong with it, or null. */
  add(from: number, to: number): string | null {
    if (from < 0 || to > this.#lengthBytes) return "it is outside of the request";
    const parts = this.#parts;
    const index = this.#firstEndingAtOrAfter(from);
    // Two parts that both touch the new one become one with it.
    const before = parts[index]?.to === from ? parts[index] : undefined;
    const next = parts[before === undefined ? index : index + 1];
    if (next !== undefined && next.from < to) return "a part of it came before";
    const after = next?.from === to ? next : undefined;
    if (before !== undefined) {
      before.to = after === undefined ? to : after.to;
      if (after !== undefined) parts.splice(index + 1, 1);
    } else if (after !== undefined) {
      after.from = from;
    } else if (parts.length === MAX_PARTS) {
      return `it makes more than ${MAX_PARTS} separate parts`;
    } else {
      parts.splice(index, 0, { from, to });
    }
    return null;
  }

  /** Whether the whole range has come. */
  get isWhole(): boolean {
    const [first] = this.#parts;
    return first !== undefined && first.from === 0 && first.to === this.#lengthBytes;
  }

  #firstEndingAtOrAfter(offset: number): number {
    let low = 0;
    let high = this.#parts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#parts[middle]!.to < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
