/** Bits that are read from the end of an area to its beginning (RFC 8878, section 4.1). */

import { bad } from "./frame-layout.ts";

/**
 * A position in such bits. The last byte's highest set bit is only a mark. The input must have 4 readable bytes after the
 * area: fields are read in words.
 */
export class BackwardBits {
  private readonly bytes: Uint8Array;
  private readonly first: number;
  /** Number of the bit above those that were not read, counted from the start of `bytes`. */
  private position: number;

  /** The bits of `bytes[start, end)`. Throws FormatError if there is no mark. */
  constructor(bytes: Uint8Array, start: number, end: number) {
    if (end <= start || bytes[end - 1] === 0) throw bad("bad-value", "a bit stream has no end mark", end);
    this.bytes = bytes;
    this.first = start * 8;
    this.position = (end - 1) * 8 + 31 - Math.clz32(bytes[end - 1]);
  }

  /** Bits that are left; below 0 once more were taken than there are. */
  get left(): number {
    return this.position - this.first;
  }

  /** The next `count` bits, at most 24. Beyond the beginning everything is 0, and `left` is below 0. */
  take(count: number): number {
    const value = this.peek(count);
    this.position -= count;
    return value;
  }

  /** The same bits, which stay. */
  peek(count: number): number {
    const at = this.position - count;
    if (at >= this.first) return this.word(at) & ((1 << count) - 1);
    const there = Math.max(0, this.left);
    return (this.word(this.first) & ((1 << there) - 1)) << (count - there);
  }

  /** Leaves out `count` bits. */
  skip(count: number): void {
    this.position -= count;
  }

  /** At least 25 bits from bit `at` on. */
  private word(at: number): number {
    const { bytes } = this;
    const i = at >>> 3;
    return (bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24)) >>> (at & 7);
  }
}
