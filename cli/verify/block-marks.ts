/** A mark for each block of a disk, in memory for what is marked and not for how large the disk is. */

import type { BlockRun } from "../../src/disk/index.ts";

/** What a block can be marked as; 0: it has no mark. */
export const BlockMark = { right: 1, wrong: 2 } as const;
export type BlockMark = (typeof BlockMark)[keyof typeof BlockMark];

const marksOfByte = 4;
const chunkBlocks = 2048;

/** Marks of two bits, in chunks of 512 bytes that are made when the first mark in them is set. */
export class BlockMarks {
  private readonly chunks = new Map<number, Uint8Array>();

  /** Replaces the block's mark. */
  set(block: number, mark: BlockMark): void {
    const index = Math.floor(block / chunkBlocks);
    let chunk = this.chunks.get(index);
    if (chunk === undefined) {
      chunk = new Uint8Array(chunkBlocks / marksOfByte);
      this.chunks.set(index, chunk);
    }
    const slot = block % chunkBlocks;
    const shift = (slot % marksOfByte) * 2;
    const at = Math.floor(slot / marksOfByte);
    chunk[at] = (chunk[at] & ~(3 << shift)) | (mark << shift);
  }

  /** The block's mark; 0 if it has none. */
  get(block: number): BlockMark | 0 {
    const chunk = this.chunks.get(Math.floor(block / chunkBlocks));
    if (chunk === undefined) return 0;
    const slot = block % chunkBlocks;
    return ((chunk[Math.floor(slot / marksOfByte)] >> ((slot % marksOfByte) * 2)) & 3) as BlockMark | 0;
  }

  /** Blocks with a mark, in ascending order. */
  *blocksWith(mark: BlockMark): Generator<number> {
    for (const index of [...this.chunks.keys()].sort((a, b) => a - b)) {
      const first = index * chunkBlocks;
      for (let block = first; block < first + chunkBlocks; block++) if (this.get(block) === mark) yield block;
    }
  }

  /** The blocks of a run that have no mark, in ascending order. */
  *unmarked({ block, count }: BlockRun): Generator<number> {
    for (let at = block; at < block + count; at++) if (this.get(at) === 0) yield at;
  }
}
