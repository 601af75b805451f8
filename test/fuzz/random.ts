/** Random numbers that a seed repeats on every machine. */

/** A small generator (mulberry32) with the draws that mutation needs. */
export class Random {
  #state: number;

  /** Any text is a seed. */
  constructor(seed: string) {
    // FNV-1a, so that similar seeds give sequences that have nothing in common.
    let hash = 0x811c9dc5;
    for (let i = 0; i < seed.length; i++) hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193);
    this.#state = hash >>> 0;
  }

  /** 32 random bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 to `limit - 1`; 0 for a limit of 0. */
  below(limit: number): number {
    return limit <= 0 ? 0 : Math.floor((this.next() / 2 ** 32) * limit);
  }

  /** True once in `oneIn` draws. */
  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }

  /** 1 and up, each half as likely as the one before; at most `most`. */
  few(most: number): number {
    let count = 1;
    while (count < most && this.below(2) === 0) count++;
    return count;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.next() & 0xff);
  }
}
