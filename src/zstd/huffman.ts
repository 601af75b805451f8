/** Huffman-coded literals (RFC 8878, section 4.2). */

import { BackwardBits } from "./backward-bits.ts";
import { bad } from "./frame-layout.ts";
import { readFseTable } from "./fse.ts";

const maxBits = 11;
const maxWeightLog = 6;
/** The last symbol's weight is not stored. */
const maxWeights = 255;

/** What the next `log` bits mean: a symbol, and how many of them it takes. */
export interface HuffmanTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

/** Reads a table at `input[at, end)`; 4 bytes after `end` must be readable. Throws FormatError. */
export function readHuffmanTable(
  input: Uint8Array,
  at: number,
  end: number,
): { table: HuffmanTable; at: number } {
  if (at >= end) throw bad("truncated", "a Huffman table is cut", at);
  const head = input[at];
  const isDirect = head >= 128;
  const from = at + 1;
  const until = from + (isDirect ? (head - 126) >> 1 : head);
  if (until > end) throw bad("truncated", "a Huffman table is cut", at);
  const weights = isDirect ? directWeights(input, from, head - 127) : codedWeights(input, from, until);
  return { table: tableOf(weights, at), at: until };
}

function directWeights(input: Uint8Array, at: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const byte = input[at + (i >> 1)];
    return i & 1 ? byte & 15 : byte >> 4;
  });
}

/** Two states take turns; the bits end exactly where one of them would go on. */
function codedWeights(input: Uint8Array, at: number, end: number): number[] {
  const { table, at: start } = readFseTable(input, at, end, maxWeightLog, maxWeights);
  const bits = new BackwardBits(input, start, end);
  const weights: number[] = [];
  let state = bits.take(table.log);
  let other = bits.take(table.log);
  if (bits.left < 0) throw bad("truncated", "a Huffman table is cut", at);
  while (bits.left >= table.bits[state]) {
    if (weights.length >= maxWeights) throw bad("bad-value", "a Huffman table has too many weights", at);
    weights.push(table.symbols[state]);
    const next = table.bases[state] + bits.take(table.bits[state]);
    state = other;
    other = next;
  }
  weights.push(table.symbols[state], table.symbols[other]);
  return weights;
}

function tableOf(weights: readonly number[], at: number): HuffmanTable {
  const fail = (): never => {
    throw bad("bad-value", "the weights of a Huffman table do not fit", at);
  };
  if (weights.length > maxWeights || weights.some((weight) => weight > maxBits)) fail();
  const total = weights.reduce((sum, weight) => sum + ((1 << weight) >> 1), 0);
  if (total === 0) fail();
  const log = 32 - Math.clz32(total);
  const rest = (1 << log) - total;
  if (log > maxBits || (rest & (rest - 1)) !== 0) fail();
  const all = [...weights, 32 - Math.clz32(rest)];
  // A full tree has at least two leaves at its greatest depth.
  if (all.filter((weight) => weight === 1).length < 2) fail();
  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let code = 0;
  for (let weight = 1; weight <= log; weight++) {
    for (const [symbol, own] of all.entries()) {
      if (own !== weight) continue;
      const until = code + ((1 << weight) >> 1);
      symbols.fill(symbol, code, until);
      bits.fill(log + 1 - weight, code, until);
      code = until;
    }
  }
  return { log, symbols, bits };
}

/** Fills out[from, until) with the symbols of the bits in input[start, end), which must be used up. Throws FormatError. */
export function decodeHuffman(
  table: HuffmanTable,
  input: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  from: number,
  until: number,
): void {
  const stream = new BackwardBits(input, start, end);
  const { log, symbols, bits } = table;
  for (let i = from; i < until; i++) {
    const code = stream.peek(log);
    out[i] = symbols[code];
    stream.skip(bits[code]);
  }
  if (stream.left !== 0) throw bad("bad-value", "a stream of literals does not end where it must", end);
}
