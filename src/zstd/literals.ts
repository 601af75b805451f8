/** The literals of a compressed block (RFC 8878, section 3.1.1.3.1). */

import { bad, zstdBlockBytes } from "./frame-layout.ts";
import { decodeHuffman, type HuffmanTable, readHuffmanTable } from "./huffman.ts";

const LiteralsType = { raw: 0, rle: 1, compressed: 2, treeless: 3 } as const;
const jumpTableBytes = 6;

/** Literals of a block, the table that the next one may use again, and where the sequences begin. */
export interface Literals {
  readonly bytes: Uint8Array;
  readonly table: HuffmanTable | null;
  readonly at: number;
}

/**
 * Reads the literals at `input[at, end)`; 4 bytes after `end` must be readable. `room` takes them, unless they stand in
 * the input. `table` is that of the block before. Throws FormatError.
 */
export function readLiterals(
  input: Uint8Array,
  at: number,
  end: number,
  room: Uint8Array,
  table: HuffmanTable | null,
): Literals {
  const type = input[at] & 3;
  const isCoded = type >= LiteralsType.compressed;
  const head = headOf(input, at, isCoded);
  const { length, stored, isFour } = head;
  const from = at + head.bytes;
  const take = isCoded ? stored : type === LiteralsType.raw ? length : 1;
  if (length > zstdBlockBytes) throw bad("bad-length", `${length} literals exceed ${zstdBlockBytes}`, at);
  if (from + take > end) throw bad("truncated", "the literals are cut", at);
  const until = from + take;
  if (type === LiteralsType.raw) return { bytes: input.subarray(from, until), table, at: until };
  const bytes = room.subarray(0, length);
  if (type === LiteralsType.rle) return { bytes: bytes.fill(input[from]), table, at: until };
  let streams = from;
  let used = table;
  if (type === LiteralsType.compressed) {
    const read = readHuffmanTable(input, from, until);
    used = read.table;
    streams = read.at;
  }
  if (used === null) throw bad("bad-value", "literals use a table that was never there", at);
  if (isFour) decodeFour(used, input, streams, until, bytes);
  else decodeHuffman(used, input, streams, until, bytes, 0, length);
  return { bytes, table: used, at: until };
}

interface LiteralsHead {
  /** Of the head itself. */
  readonly bytes: number;
  readonly length: number;
  readonly stored: number;
  readonly isFour: boolean;
}

function headOf(input: Uint8Array, at: number, isCoded: boolean): LiteralsHead {
  const form = (input[at] >> 2) & 3;
  const word = (input[at] | (input[at + 1] << 8) | (input[at + 2] << 16) | (input[at + 3] << 24)) >>> 4;
  if (!isCoded) {
    if ((form & 1) === 0) return { bytes: 1, length: input[at] >> 3, stored: 0, isFour: false };
    return form === 1
      ? { bytes: 2, length: word & 0xfff, stored: 0, isFour: false }
      : { bytes: 3, length: word & 0xfffff, stored: 0, isFour: false };
  }
  const isFour = form !== 0;
  if (form < 2) return { bytes: 3, length: word & 0x3ff, stored: (word >> 10) & 0x3ff, isFour };
  if (form === 2) return { bytes: 4, length: word & 0x3fff, stored: (word >> 14) & 0x3fff, isFour };
  return { bytes: 5, length: word & 0x3ffff, stored: (word >> 18) | (input[at + 4] << 10), isFour };
}

/** Four streams, the lengths of the first three ahead; each has a quarter of the literals, the last one what is left. */
function decodeFour(table: HuffmanTable, input: Uint8Array, at: number, end: number, out: Uint8Array): void {
  const quarter = (out.length + 3) >> 2;
  if (end - at < jumpTableBytes || out.length < 3 * quarter) {
    throw bad("bad-length", "four streams of literals do not fit", at);
  }
  let start = at + jumpTableBytes;
  for (let i = 0; i < 4; i++) {
    const until = i === 3 ? end : start + (input[at + 2 * i] | (input[at + 2 * i + 1] << 8));
    if (until > end) throw bad("truncated", "a stream of literals is cut", at);
    decodeHuffman(table, input, start, until, out, i * quarter, i === 3 ? out.length : (i + 1) * quarter);
    start = until;
  }
}
