/** Files of block digests as verification reads them: never through a symbolic link, and never written. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { FormatError } from "../../src/errors.ts";
import {
  type DigestLevel,
  type DigestStorage,
  digestFileBytes,
  digestLevels,
  entriesOfWindow,
  nodeChildren,
  windowBytes,
  windowEntries,
} from "../../src/generation/block-digest-layout.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";

const entryWords = digestBytes / 4;
const scanBytes = 1 << 20;

/** A digest file that is open for reading. */
export class DigestLayer implements DigestStorage {
  readonly path: string;
  readonly size: number;
  /** Bytes that the file system has for it; the rest are holes. */
  readonly allocatedBytes: number;
  private readonly file: number;

  /** Opens the file of a disk with `blocks` blocks. Throws FormatError, or Node's system error. */
  constructor(path: string, blocks: number) {
    this.path = path;
    this.file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(this.file);
      this.size = stat.size;
      this.allocatedBytes = stat.blocks * 512;
      const expected = digestFileBytes(blocks);
      if (!stat.isFile()) throw new FormatError("bad-value", "it is not a regular file");
      if (stat.size !== expected) {
        throw new FormatError("bad-length", `it has ${stat.size} bytes, ${expected} expected`);
      }
    } catch (error) {
      closeSync(this.file);
      throw error;
    }
  }

  read(target: Uint8Array, at: number): void {
    let done = 0;
    while (done < target.length) {
      const got = readSync(this.file, target, done, target.length - done, at + done);
      if (got === 0) break;
      done += got;
    }
    target.fill(0, done);
  }

  write(): never {
    throw new TypeError("Cannot write digests that are verified");
  }

  close(): void {
    closeSync(this.file);
  }
}

/** A layer in memory, for what verification finds to be right. Takes 4 KiB for each window that has an entry. */
export class MemoryLayer implements DigestStorage {
  private readonly windows = new Map<number, Uint8Array>();

  read(target: Uint8Array, at: number): void {
    const window = this.windows.get(at);
    if (window) target.set(window);
    else target.fill(0);
  }

  write(bytes: Uint8Array, at: number): void {
    this.windows.set(at, bytes.slice());
  }
}

/**
 * Positions of entries that have no node above them in the same file, or stand beyond their level's end: nothing ever
 * wrote them. Holes are only read if the file system has more for the file than its tree accounts for.
 */
export function* strayEntries(layer: DigestLayer, blocks: number): Generator<number> {
  const levels = digestLevels(blocks);
  const tree = new LayerTree(layer, levels);
  tree.visit(levels.length - 1, 0, null);
  if (layer.allocatedBytes <= tree.windows * windowBytes) {
    yield* tree.strays;
    return;
  }
  const chunk = new Uint32Array(scanBytes / 4);
  const bytes = new Uint8Array(chunk.buffer);
  const parents = new WindowReader(layer);
  for (let at = 0; at < layer.size; at += scanBytes) {
    const part = bytes.subarray(0, Math.min(scanBytes, layer.size - at));
    layer.read(part, at);
    const words = part.length / 4;
    for (let word = 0; word < words; word += entryWords) {
      if ((chunk[word] | chunk[word + 1] | chunk[word + 2] | chunk[word + 3]) === 0) continue;
      const position = at + word * 4;
      if (!hasNode(parents, levels, position)) yield position;
    }
  }
}

function hasNode(parents: WindowReader, levels: readonly DigestLevel[], position: number): boolean {
  const number = Math.floor(position / windowBytes);
  const level = levels.findLastIndex(({ firstWindow }) => firstWindow <= number);
  const { firstWindow, entries } = levels[level];
  const entry = (number - firstWindow) * windowEntries + (position % windowBytes) / digestBytes;
  if (entry >= entries) return false;
  if (level === levels.length - 1) return true;
  const node = Math.floor(entry / nodeChildren);
  const words = parents.get(levels[level + 1].firstWindow + Math.floor(node / windowEntries));
  return hasEntry(words, node % windowEntries);
}

/** Entries that the file itself has, for each level, lowest first. Costs what is present. */
export function presentEntries(layer: DigestLayer, blocks: number): readonly number[] {
  const levels = digestLevels(blocks);
  const tree = new LayerTree(layer, levels);
  tree.visit(levels.length - 1, 0, null);
  return tree.present;
}

/** The windows of one file that nodes lead to, what stands in them, and what does so without a node. */
class LayerTree {
  windows = 0;
  readonly present: number[];
  readonly strays: number[] = [];
  private readonly layer: DigestLayer;
  private readonly levels: readonly DigestLevel[];

  constructor(layer: DigestLayer, levels: readonly DigestLevel[]) {
    this.layer = layer;
    this.levels = levels;
    this.present = levels.map(() => 0);
  }

  /** `parent` is the window with the nodes above; null at the top. */
  visit(level: number, index: number, parent: Uint32Array | null): void {
    this.windows++;
    const { firstWindow } = this.levels[level];
    const words = new Uint32Array(windowBytes / 4);
    this.layer.read(new Uint8Array(words.buffer), (firstWindow + index) * windowBytes);
    const entries = entriesOfWindow(this.levels[level], index);
    let last = -1;
    for (let slot = 0; slot < windowEntries; slot++) {
      if (!hasEntry(words, slot)) continue;
      const entry = index * windowEntries + slot;
      const hasParent = parent === null || hasEntry(parent, Math.floor(entry / nodeChildren) % windowEntries);
      if (slot >= entries || !hasParent) {
        this.strays.push((firstWindow + index) * windowBytes + slot * digestBytes);
        continue;
      }
      this.present[level]++;
      if (level === 0) continue;
      const child = Math.floor((entry * nodeChildren) / windowEntries);
      if (child !== last) this.visit(level - 1, child, words);
      last = child;
    }
  }
}

/** Reads windows, and keeps the last one. */
class WindowReader {
  private readonly layer: DigestLayer;
  private readonly words = new Uint32Array(windowBytes / 4);
  private number = -1;

  constructor(layer: DigestLayer) {
    this.layer = layer;
  }

  get(number: number): Uint32Array {
    if (number !== this.number) this.layer.read(new Uint8Array(this.words.buffer), number * windowBytes);
    this.number = number;
    return this.words;
  }
}

function hasEntry(words: Uint32Array, slot: number): boolean {
  const at = slot * entryWords;
  return (words[at] | words[at + 1] | words[at + 2] | words[at + 3]) !== 0;
}
