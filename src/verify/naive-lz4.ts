/**
 * An LZ4 block decoder that copies byte by byte and checks each step. The WASM core is held against it.
 *
 *     block     =  sequence*  last
 *     sequence  =  token  more*  literal*  distance (2 bytes)  more*     a match of (token & 15) + 4 and more
 *     last      =  token  more*  literal*                              no match: the block ends here
 *     token     =  high 4 bits: number of literals, low 4 bits: length of the match; 15 means that `more` follows
 *     more      =  255 goes on, anything else is the last one; all are added
 *
 * Source: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */

import { FormatError } from "../errors.ts";

const shortestMatch = 4;

/**
 * The `length` bytes of an LZ4 block, which may refer back to `history`, the bytes before it. Throws FormatError if
 * the block does not decode to exactly `length` bytes. The caller has checked `length` against its format's maximum.
 */
export function naiveLz4Decode(
  block: Uint8Array,
  length: number,
  history: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(history.length + length);
  out.set(history);
  let written = history.length;
  let at = 0;

  const nextByte = (): number => {
    if (at === block.length) throw bad("truncated", "the input ends inside an item", at);
    return block[at++];
  };
  const lengthFrom = (nibble: number): number => {
    let sum = nibble;
    let byte = nibble === 15 ? 255 : 0;
    while (byte === 255) {
      byte = nextByte();
      sum += byte;
    }
    return sum;
  };
  const write = (byte: number): void => {
    if (written === out.length) throw bad("bad-length", "it is longer than its output", at);
    out[written++] = byte;
  };

  for (;;) {
    const token = nextByte();
    const literals = lengthFrom(token >> 4);
    for (let i = 0; i < literals; i++) write(nextByte());
    if (at === block.length) break;
    const distance = nextByte() | (nextByte() << 8);
    if (distance === 0 || distance > written) throw bad("bad-value", `it refers back by ${distance}`, at - 2);
    const match = lengthFrom(token & 15) + shortestMatch;
    for (let i = 0; i < match; i++) write(out[written - distance]);
  }
  if (written !== out.length) throw bad("bad-length", "it is shorter than its output", at);
  return out.slice(history.length);
}

function bad(code: "truncated" | "bad-length" | "bad-value", cause: string, at: number): FormatError {
  return new FormatError(code, `Cannot decompress an LZ4 block: ${cause}`, at);
}
