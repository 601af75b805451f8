/** Random numbers that come again with their seed: what a run did can be done once more. */

/** xorshift32 (Marsaglia 2003) over a 32-bit state. */
export class SeededRandom {
  private state: number;

  constructor(seed: number) {
    // The state must not be zero; neighbouring seeds must not begin alike.
    this.state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 0 || 1;
    for (let i = 0; i < 8; i++) this.next();
  }

  /** A number from 0 to 1, without 1. */
  next(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x | 0;
    return (x >>> 0) / 2 ** 32;
  }

  /** An integer from `least` to `most`, both possible. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** One of them. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(0, choices.length - 1)] as T;
  }
}
