/** Tables of finite state entropy (RFC 8878, section 4.1): which symbol a state means, and how it goes on. */

import { bad } from "./frame-layout.ts";

/** The next state is `base` plus the next `bits` bits. All columns have one entry a state. */
export interface FseTable {
  /** Bits of the first state. */
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
}

/** A table with one symbol, which takes no bits. */
export function rleTable(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), bases: new Uint16Array(1) };
}

/**
 * Reads a description at `input[at, end)`; 4 bytes after `end` must be readable. Returns the table and where it ends.
 * Throws FormatError if a state takes more than `maxLog` bits, or a symbol is above `maxSymbol`.
 */
export function readFseTable(
  input: Uint8Array,
  at: number,
  end: number,
  maxLog: number,
  maxSymbol: number,
): { table: FseTable; at: number } {
  let bit = at * 8;
  const peek = (count: number) => {
    const i = bit >>> 3;
    const word = input[i] | (input[i + 1] << 8) | (input[i + 2] << 16) | (input[i + 3] << 24);
    return (word >>> (bit & 7)) & ((1 << count) - 1);
  };
  if (at >= end) throw bad("truncated", "a table is cut", at);
  const log = peek(4) + 5;
  bit += 4;
  if (log > maxLog) throw bad("bad-value", `a table of ${log} bits exceeds ${maxLog}`, at);
  const counts: number[] = [];
  for (let left = 1 << log; left > 0; ) {
    if (counts.length > maxSymbol) throw bad("bad-value", "a table has too many symbols", at);
    if (bit >= end * 8) throw bad("truncated", "a table is cut", at);
    // 0 to left + 1: the values below `spare` take one bit less.
    const bits = 32 - Math.clz32(left + 1);
    const spare = (1 << bits) - 2 - left;
    const short = peek(bits - 1);
    let value = short;
    if (short < spare) bit += bits - 1;
    else {
      value = peek(bits);
      bit += bits;
      if (value >= 1 << (bits - 1)) value -= spare;
    }
    const count = value - 1;
    left -= Math.abs(count);
    counts.push(count);
    for (let more = count === 0 ? 3 : 0; more === 3; ) {
      more = peek(2);
      bit += 2;
      for (let i = 0; i < more; i++) counts.push(0);
      if (bit > end * 8) throw bad("truncated", "a table is cut", at);
    }
  }
  if (counts.length > maxSymbol + 1) throw bad("bad-value", "a table has too many symbols", at);
  if (bit > end * 8) throw bad("truncated", "a table is cut", at);
  return { table: fseTable(counts, log), at: (bit + 7) >>> 3 };
}

/** The table of 2^log states for counts that add up to so many; -1 is a symbol rarer than one state. */
export function fseTable(counts: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  const next = counts.map((count) => Math.abs(count));
  let free = size;
  for (const [symbol, count] of counts.entries()) if (count === -1) symbols[--free] = symbol;
  const step = (size >> 1) + (size >> 3) + 3;
  let state = 0;
  for (const [symbol, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      symbols[state] = symbol;
      do state = (state + step) & (size - 1);
      while (state >= free);
    }
  }
  for (let i = 0; i < size; i++) {
    const order = next[symbols[i]]++;
    bits[i] = log - (31 - Math.clz32(order));
    bases[i] = (order << bits[i]) - size;
  }
  return { log, symbols, bits, bases };
}
