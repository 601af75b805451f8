/** LZ4 blocks: the naive decoder, and an encoder that tries every earlier position. */

import { FormatError } from "../../../src/errors.ts";
import { naiveLz4Decode } from "../../../src/verify/naive-lz4.ts";

/** The `length` bytes of a block that may refer back to `history`, or null if anything is wrong with it. */
export function lz4DecodeTwin(block: Uint8Array, length: number, history?: Uint8Array): Uint8Array | null {
  try {
    return naiveLz4Decode(block, length, history);
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

/** A block with the longest match at each place; for inputs of a few hundred bytes. */
export function lz4EncodeTwin(input: Uint8Array): Uint8Array {
  const out: number[] = [];
  let anchor = 0;
  let at = 0;
  while (at + 12 <= input.length) {
    const { length, distance } = longestMatch(input, at);
    if (length < 4) {
      at++;
      continue;
    }
    putSequence(out, input.subarray(anchor, at), length, distance);
    at += length;
    anchor = at;
  }
  putSequence(out, input.subarray(anchor), 0, 0);
  return Uint8Array.from(out);
}

function longestMatch(input: Uint8Array, at: number): { length: number; distance: number } {
  let best = { length: 0, distance: 0 };
  for (let distance = 1; distance <= Math.min(at, 65535); distance++) {
    let length = 0;
    while (at + length < input.length - 5 && input[at + length] === input[at + length - distance]) length++;
    if (length > best.length) best = { length, distance };
  }
  return best;
}

/** `match` 0 is the last sequence, which has literals only. */
function putSequence(out: number[], literals: Uint8Array, match: number, distance: number): void {
  const rest = match === 0 ? 0 : match - 4;
  out.push((Math.min(literals.length, 15) << 4) | Math.min(rest, 15));
  putLength(out, literals.length);
  out.push(...literals);
  if (match === 0) return;
  out.push(distance & 255, distance >> 8);
  putLength(out, rest);
}

function putLength(out: number[], length: number): void {
  if (length < 15) return;
  let rest = length - 15;
  for (; rest >= 255; rest -= 255) out.push(255);
  out.push(rest);
}
