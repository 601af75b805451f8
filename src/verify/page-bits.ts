/** Bitmaps over the page space: bit `i & 7` of byte `i >> 3` is page i. */

import { digestBytes } from "../generation/digest-tree.ts";

const digestWords = digestBytes / 4;

/** A bitmap for so many pages, all clear. */
export function noBits(pages: number): Uint8Array {
  return new Uint8Array(Math.ceil(pages / 8));
}

export function setBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >> 3] |= 1 << (bit & 7);
}

export function clearBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >> 3] &= ~(1 << (bit & 7));
}

export function bitOf(bitmap: Uint8Array, bit: number): boolean {
  return (bitmap[bit >> 3] & (1 << (bit & 7))) !== 0;
}

/** The set bits, ascending. */
export function* bitsOf(bitmap: Uint8Array): Generator<number> {
  for (let byte = 0; byte < bitmap.length; byte++) {
    for (let bits = bitmap[byte], bit = 0; bits !== 0; bits >>= 1, bit++) if (bits & 1) yield byte * 8 + bit;
  }
}

/** Pages whose digests differ; both have 16 bytes a page, of equal lengths, and begin at a multiple of 4 bytes. */
export function differences(a: Uint8Array, b: Uint8Array): Uint8Array {
  const pages = a.length / digestBytes;
  const bitmap = noBits(pages);
  const ours = new Uint32Array(a.buffer, a.byteOffset, a.length / 4);
  const theirs = new Uint32Array(b.buffer, b.byteOffset, b.length / 4);
  for (let page = 0, at = 0; page < pages; page++, at += digestWords) {
    const isSame =
      ours[at] === theirs[at] &&
      ours[at + 1] === theirs[at + 1] &&
      ours[at + 2] === theirs[at + 2] &&
      ours[at + 3] === theirs[at + 3];
    if (!isSame) setBit(bitmap, page);
  }
  return bitmap;
}
