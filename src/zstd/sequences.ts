/** The sequences of a compressed block: literals to copy, then a match (RFC 8878, sections 3.1.1.3.2 and 3.1.1.4). */

import { BackwardBits } from "./backward-bits.ts";
import { bad, zstdBlockBytes } from "./frame-layout.ts";
import { type FseTable, fseTable, readFseTable, rleTable } from "./fse.ts";

/** What one block leaves to the next. */
export interface SequenceState {
  /** Tables of literal lengths, offsets and match lengths; null before the first. */
  tables: readonly FseTable[] | null;
  /** The last three offsets, the newest first. */
  readonly offsets: [number, number, number];
}

/** Codes of a value: its smallest value, and how many bits are added. */
interface Codes {
  readonly bases: readonly number[];
  readonly bits: readonly number[];
}

function codesOf(
  plain: number,
  from: number,
  groups: readonly (readonly [bits: number, count: number])[],
): Codes {
  const bits: number[] = new Array(plain).fill(0);
  for (const [size, count] of groups) for (let i = 0; i < count; i++) bits.push(size);
  let next = from;
  const bases = bits.map((size) => {
    const base = next;
    next += 1 << size;
    return base;
  });
  return { bases, bits };
}

const upTo = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, i) => [first + i, 1] as const);
const literalCodes = codesOf(16, 0, [[1, 4], [2, 2], [3, 2], [4, 1], ...upTo(6, 16)]);
const matchCodes = codesOf(32, 3, [[1, 4], [2, 2], [3, 2], [4, 2], [5, 1], ...upTo(7, 16)]);
/** Greater ones lead out of every content that is accepted here. */
const maxOffsetCode = 24;

const literalCounts = [
  4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1,
  -1,
];
const offsetCounts = [
  1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
];
const matchCounts = [
  1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];
/** Literal lengths, offsets, match lengths: the order of their tables. */
const kinds = [
  { maxLog: 9, maxSymbol: 35, predefined: fseTable(literalCounts, 6) },
  { maxLog: 8, maxSymbol: 31, predefined: fseTable(offsetCounts, 5) },
  { maxLog: 9, maxSymbol: 52, predefined: fseTable(matchCounts, 6) },
];
const Mode = { predefined: 0, rle: 1, described: 2, repeated: 3 } as const;

/**
 * Executes the sequences at `input[at, end)` and writes what they give, and the literals that are left, to `out` from
 * `written` on. Returns the new end. 4 bytes after `end` must be readable. Throws FormatError.
 */
export function decodeSequences(
  input: Uint8Array,
  at: number,
  end: number,
  literals: Uint8Array,
  state: SequenceState,
  out: Uint8Array,
  written: number,
): number {
  const limit = Math.min(out.length, written + zstdBlockBytes);
  const { count, at: afterCount } = countAt(input, at, end);
  let to = written;
  let literal = 0;
  if (count === 0) {
    if (afterCount !== end) throw bad("bad-length", "bytes follow the literals", afterCount);
  } else {
    const read = readTables(input, afterCount, end, state.tables);
    state.tables = read.tables;
    const [literalTable, offsetTable, matchTable] = read.tables;
    const bits = new BackwardBits(input, read.at, end);
    let literalState = bits.take(literalTable.log);
    let offsetState = bits.take(offsetTable.log);
    let matchState = bits.take(matchTable.log);
    for (let i = 0; i < count; i++) {
      const offsetCode = offsetTable.symbols[offsetState];
      if (offsetCode > maxOffsetCode) throw bad("bad-value", "a match begins before the content", at);
      const offsetValue = (1 << offsetCode) + bits.take(offsetCode);
      const matchCode = matchTable.symbols[matchState];
      const match = matchCodes.bases[matchCode] + bits.take(matchCodes.bits[matchCode]);
      const literalCode = literalTable.symbols[literalState];
      const length = literalCodes.bases[literalCode] + bits.take(literalCodes.bits[literalCode]);
      if (i + 1 < count) {
        literalState = literalTable.bases[literalState] + bits.take(literalTable.bits[literalState]);
        matchState = matchTable.bases[matchState] + bits.take(matchTable.bits[matchState]);
        offsetState = offsetTable.bases[offsetState] + bits.take(offsetTable.bits[offsetState]);
      }
      if (bits.left < 0) throw bad("truncated", "the sequences are cut", end);
      const offset = offsetOf(state.offsets, offsetValue, length);
      if (length > literals.length - literal) throw bad("bad-length", "a sequence has too many literals", at);
      if (length + match > limit - to) throw bad("bad-length", "a block is longer than its content", at);
      for (const until = to + length; to < until; ) out[to++] = literals[literal++];
      if (offset === 0 || offset > to) throw bad("bad-value", "a match begins before the content", at);
      for (const until = to + match; to < until; to++) out[to] = out[to - offset];
    }
    if (bits.left !== 0) throw bad("bad-value", "the sequences do not end where they must", end);
  }
  const left = literals.length - literal;
  if (left > limit - to) throw bad("bad-length", "a block is longer than its content", at);
  out.set(literals.subarray(literal), to);
  return to + left;
}

/** Values up to 3 mean one of the last offsets, or, without literals, those after the newest and one below it. */
function offsetOf(offsets: SequenceState["offsets"], value: number, literals: number): number {
  const index = value > 3 ? 3 : value - 1 + (literals === 0 ? 1 : 0);
  const offset = value > 3 ? value - 3 : index === 3 ? offsets[0] - 1 : offsets[index];
  if (index === 0) return offset;
  if (index > 1) offsets[2] = offsets[1];
  offsets[1] = offsets[0];
  offsets[0] = offset;
  return offset;
}

function countAt(input: Uint8Array, at: number, end: number): { count: number; at: number } {
  const head = input[at];
  const bytes = head < 128 ? 1 : head < 255 ? 2 : 3;
  if (at + bytes > end) throw bad("truncated", "the sequences are cut", at);
  if (bytes === 1) return { count: head, at: at + 1 };
  if (bytes === 2) return { count: ((head - 128) << 8) + input[at + 1], at: at + 2 };
  return { count: input[at + 1] + (input[at + 2] << 8) + 0x7f00, at: at + 3 };
}

function readTables(
  input: Uint8Array,
  start: number,
  end: number,
  before: readonly FseTable[] | null,
): { tables: readonly FseTable[]; at: number } {
  if (start >= end) throw bad("truncated", "the sequences are cut", start);
  const modes = input[start];
  if ((modes & 3) !== 0) throw bad("bad-value", "a reserved field of the sequences is not zero", start);
  let at = start + 1;
  const tables = kinds.map(({ maxLog, maxSymbol, predefined }, i) => {
    const mode = (modes >> (6 - 2 * i)) & 3;
    if (mode === Mode.predefined) return predefined;
    if (mode === Mode.repeated) {
      if (before === null) throw bad("bad-value", "sequences use a table that was never there", start);
      return before[i];
    }
    if (mode === Mode.described) {
      const read = readFseTable(input, at, end, maxLog, maxSymbol);
      at = read.at;
      return read.table;
    }
    if (at >= end || input[at] > maxSymbol) throw bad("bad-value", "a sequence's only symbol is unknown", at);
    return rleTable(input[at++]);
  });
  return { tables, at };
}
