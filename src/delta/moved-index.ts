/** Finds a page of the base by its content digest: an open-addressing table of page numbers. */

import { digestBytes } from "../generation/digest-tree.ts";

const digestWords = digestBytes / 4;

/** Answers where in the base a content stands. Takes 6 to 12 bytes a page. */
export class MovedIndex {
  private readonly digests: Uint8Array;
  /** The digests four bytes at a time, in the machine's order. */
  private readonly words: Uint32Array;
  private readonly slots: Uint32Array;
  private readonly mask: number;
  /** What is looked for: bytes, and the same as words. */
  private readonly wanted = new Uint8Array(digestBytes);
  private readonly wantedWords = new Uint32Array(this.wanted.buffer);

  /** Indexes the pages of `digests` (16 bytes a page, kept, not copied) that do not have the digest `zero`. */
  constructor(digests: Uint8Array, zero: Uint8Array) {
    this.digests = digests;
    const totalPages = digests.length / digestBytes;
    let size = 16;
    while (size < totalPages * 1.5) size *= 2;
    this.slots = new Uint32Array(size);
    this.mask = size - 1;
    // A copy where the bytes do not stand at a multiple of four.
    const aligned = digests.byteOffset % 4 === 0 ? digests : digests.slice();
    this.words = new Uint32Array(aligned.buffer, aligned.byteOffset, totalPages * digestWords);
    this.wanted.set(zero);
    for (let page = 0; page < totalPages; page++) {
      if (this.matches(page, this.wantedWords, 0)) continue;
      const own = page * digestWords;
      let slot = this.words[own] & this.mask;
      while (this.slots[slot] !== 0) {
        if (this.matches(this.slots[slot] - 1, this.words, own)) break;
        slot = (slot + 1) & this.mask;
      }
      if (this.slots[slot] === 0) this.slots[slot] = page + 1;
    }
  }

  /** Digests of the base, 16 bytes a page. */
  get baseDigests(): Uint8Array {
    return this.digests;
  }

  /** A page of the base with the digest at `from[at]`, or -1. */
  find(from: Uint8Array, at: number): number {
    for (let i = 0; i < digestBytes; i++) this.wanted[i] = from[at + i];
    let slot = this.wantedWords[0] & this.mask;
    while (this.slots[slot] !== 0) {
      const page = this.slots[slot] - 1;
      if (this.matches(page, this.wantedWords, 0)) return page;
      slot = (slot + 1) & this.mask;
    }
    return -1;
  }

  private matches(page: number, from: Uint32Array, at: number): boolean {
    const own = page * digestWords;
    for (let i = 0; i < digestWords; i++) if (this.words[own + i] !== from[at + i]) return false;
    return true;
  }
}
