/**
 * Decompresses zstd frames (RFC 8878) of known length, in plain TypeScript. Strict: what is not exactly as it must be is
 * refused, nothing is written beyond the content, and the time is bounded by the lengths of frame and content.
 */

import type { Zstd } from "../core/zstd.ts";
import { FormatError } from "../errors.ts";
import { bad, ZstdBlock, zstdBlockBytes, zstdBlocks } from "./frame-layout.ts";
import type { HuffmanTable } from "./huffman.ts";
import { readLiterals } from "./literals.ts";
import { decodeSequences, type SequenceState } from "./sequences.ts";

/** Fields are read in words that may reach beyond the input. */
const paddingBytes = 8;

/**
 * The `length` bytes of a zstd frame in the form of `frame-layout.ts`. Throws FormatError if it does not decompress to
 * exactly so many. The caller has checked `length` against its format's maximum: that much is allocated.
 */
export function decompressZstd(frame: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const blocks = zstdBlocks(frame, length);
  const input = new Uint8Array(frame.length + paddingBytes);
  input.set(frame);
  const out = new Uint8Array(length);
  const room = new Uint8Array(Math.min(zstdBlockBytes, length));
  const state: SequenceState = { tables: null, offsets: [1, 4, 8] };
  let huffman: HuffmanTable | null = null;
  let written = 0;
  for (const { type, at, size } of blocks) {
    if (type === ZstdBlock.compressed) {
      const end = at + size;
      if (size < 2) throw bad("truncated", "a compressed block is cut", at);
      const literals = readLiterals(input, at, end, room, huffman);
      huffman = literals.table;
      written = decodeSequences(input, literals.at, end, literals.bytes, state, out, written);
      continue;
    }
    if (size > length - written) throw bad("bad-length", "a block is longer than its content", at);
    if (type === ZstdBlock.rle) out.fill(input[at], written, written + size);
    else out.set(frame.subarray(at, at + size), written);
    written += size;
  }
  if (written !== length) throw bad("bad-length", "it is shorter than its content");
  return out;
}

/**
 * The same by `zstd` if there is one: the frame's form and lengths are checked before that sees it, and its result
 * after. Throws FormatError.
 */
export function decompressWith(zstd: Zstd | null, frame: Uint8Array, length: number): Uint8Array {
  if (zstd === null) return decompressZstd(frame, length);
  zstdBlocks(frame, length);
  let content: Uint8Array;
  try {
    content = zstd.decompress(frame, length);
  } catch (cause) {
    throw new FormatError("bad-value", `Cannot decompress a zstd frame: ${String(cause)}`);
  }
  if (content.length !== length) throw bad("bad-length", "it is shorter than its content");
  return content;
}
