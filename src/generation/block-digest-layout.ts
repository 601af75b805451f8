/**
 * Layout of a digest file: the digests of a disk's blocks and, level by level, the tree above them.
 *
 *      0                   n1 * 4096           n2 * 4096                    n3 * 4096
 *     +-------------------+-------------------+-------------------+- - - -+-----------------+
 *     | level 0           | level 1           | level 2           |       | top             |
 *     | a digest a block  | a node for each   | a node for each   |       | one entry       |
 *     |                   | 64 of level 0     | 64 of level 1     |       |                 |
 *     +-------------------+-------------------+-------------------+- - - -+-----------------+
 *
 * An entry has 16 bytes. Each level fills its last window of 4096 bytes up with zero bytes. The file is sparse: an
 * entry of zero bytes is absent, and the layer below answers; below the lowest layer stand the digests of a disk
 * of zeroes. Who sets an entry sets all nodes above it too, so nothing is below an absent node in the same file.
 */

import { digestBytes } from "./digest-tree.ts";

/** Children of a node. */
export const nodeChildren = 64;
/** Bytes of a file that are read, cached and written at a time; always of one level. */
export const windowBytes = 4096;
/** Entries of a window. */
export const windowEntries = windowBytes / digestBytes;
/** Nodes that stand above the entries of a window; so 64 windows of a level stand below one of the next level. */
export const nodesOverWindow = windowEntries / nodeChildren;

const blocksMax = 2 ** 32;

/** Where the bytes of a digest file are. Calls are synchronous and throw if they fail. */
export interface DigestStorage {
  /** Fills `target` from position `at` on; beyond the end of the file with zeroes. */
  read(target: Uint8Array, at: number): void;
  /** Writes all of `bytes`, and keeps no reference to them. */
  write(bytes: Uint8Array, at: number): void;
}

/** One level of a file. */
export interface DigestLevel {
  /** Digests or nodes in it. */
  readonly entries: number;
  readonly windows: number;
  /** Windows of the file before it. */
  readonly firstWindow: number;
}

/** Entries of a level on a disk of zeroes: all the same but the last one, which may have fewer blocks below it. */
export interface ZeroEntries {
  readonly each: Uint8Array;
  readonly last: Uint8Array;
}

/** Levels of a disk with `blocks` blocks, 1 to 2^32, lowest first. Throws RangeError for other numbers. */
export function digestLevels(blocks: number): readonly DigestLevel[] {
  if (!Number.isInteger(blocks) || blocks < 1 || blocks > blocksMax) {
    throw new RangeError(`Cannot lay out digests of ${blocks} blocks: a disk has 1 to ${blocksMax}`);
  }
  const levels: DigestLevel[] = [];
  let entries = blocks;
  let firstWindow = 0;
  // One block has a node too, as in a region of RAM.
  do {
    firstWindow = addLevel(levels, entries, firstWindow);
    entries = Math.ceil(entries / nodeChildren);
  } while (entries > 1);
  addLevel(levels, 1, firstWindow);
  return levels;
}

/** Apparent length of a digest file, in bytes: a multiple of 4096. Throws RangeError as `digestLevels` does. */
export function digestFileBytes(blocks: number): number {
  const levels = digestLevels(blocks);
  const top = levels[levels.length - 1];
  return (top.firstWindow + top.windows) * windowBytes;
}

/** Entries that a window has: 256, or fewer in the last one of its level. */
export function entriesOfWindow(level: DigestLevel, index: number): number {
  return Math.min(windowEntries, level.entries - index * windowEntries);
}

/** Returns the number of windows up to the level's end. */
function addLevel(levels: DigestLevel[], entries: number, firstWindow: number): number {
  const windows = Math.ceil(entries / windowEntries);
  levels.push({ entries, windows, firstWindow });
  return firstWindow + windows;
}
