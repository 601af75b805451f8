/** Finds a page of the base by its content digest: an open-addressing table of page numbers. */

import { digestBytes } from "../generation/digest-tree.ts";

/** Answers where in the base a content stands. Takes 6 to 12 bytes a page. */
export class MovedIndex {
  private readonly digests: Uint8Array;
  private readonly slots: Uint32Array;
  private readonly mask: number;

  /** Indexes the pages of `digests` (16 bytes a page, kept, not copied) that do not have the digest `zero`. */
  constructor(digests: Uint8Array, zero: Uint8Array) {
    this.digests = digests;
    const totalPages = digests.length / digestBytes;
    let size = 16;
    while (size < totalPages * 1.5) size *= 2;
    this.slots = new Uint32Array(size);
    this.mask = size - 1;
    for (let page = 0; page < totalPages; page++) {
      if (this.matches(page, zero, 0)) continue;
      let slot = hashOf(this.digests, page * digestBytes) & this.mask;
      while (this.slots[slot] !== 0) {
        if (this.matches(this.slots[slot] - 1, this.digests, page * digestBytes)) break;
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
    let slot = hashOf(from, at) & this.mask;
    while (this.slots[slot] !== 0) {
      const page = this.slots[slot] - 1;
      if (this.matches(page, from, at)) return page;
      slot = (slot + 1) & this.mask;
    }
    return -1;
  }

  private matches(page: number, from: Uint8Array, at: number): boolean {
    const own = page * digestBytes;
    for (let i = 0; i < digestBytes; i++) if (this.digests[own + i] !== from[at + i]) return false;
    return true;
  }
}

function hashOf(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}
