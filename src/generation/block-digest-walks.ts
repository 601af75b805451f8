/** Walks down the tree of layered block digests, only where something is marked: quick on sparse files. */

import {
  type DigestStorage,
  entriesOfWindow,
  nodeChildren,
  nodesOverWindow,
  windowBytes,
  windowEntries,
} from "./block-digest-layout.ts";
import type { NodeHasher } from "./block-digest-nodes.ts";
import type { DigestWindows } from "./block-digest-windows.ts";
import { digestBytes } from "./digest-tree.ts";

/** Blocks one after the other. */
export interface BlockRun {
  readonly block: number;
  readonly count: number;
}

/** Sets `marks[slot]` to 1 or 0 for the first `entries` entries of a window. */
type Mark = (level: number, index: number, entries: number, marks: Uint8Array) => void;

/** A window that has a mark. `marks` is overwritten by the next one of the same level. */
interface MarkedWindow {
  readonly level: number;
  readonly index: number;
  readonly marks: Uint8Array;
}

/** Windows of a level below one window of the next. */
const windowChildren = nodeChildren;

/** Runs of blocks that the newest layer itself has, in ascending order. */
export function ownRunsOf(windows: DigestWindows): Generator<BlockRun> {
  return runsOf(windows, markOwn(windows));
}

/** Runs of blocks that are not zero, in ascending order. */
export function nonZeroRunsOf(windows: DigestWindows): Generator<BlockRun> {
  return runsOf(windows, (level, index, entries, marks) => {
    const window = windows.get(level, index);
    for (let slot = 0; slot < entries; slot++) {
      marks[slot] = Number(!windows.isZero(window, slot, level, index));
    }
  });
}

/** Runs of blocks whose digests differ, in ascending order. Both have the same number of blocks. */
export function differingRunsOf(a: DigestWindows, b: DigestWindows): Generator<BlockRun> {
  return runsOf(a, (level, index, entries, marks) => {
    const left = a.get(level, index).words;
    const right = b.get(level, index).words;
    for (let slot = 0; slot < entries; slot++) {
      const at = slot * 4;
      const isEqual =
        left[at] === right[at] &&
        left[at + 1] === right[at + 1] &&
        left[at + 2] === right[at + 2] &&
        left[at + 3] === right[at + 3];
      marks[slot] = Number(!isEqual);
    }
  });
}

/**
 * Copies the newest layer's own entries to `lower`, nodes before what is below them, so that at no moment something
 * stands there without a node. The newest layer must have been flushed.
 */
export function copyOwnEntries(windows: DigestWindows, lower: DigestStorage): void {
  const merged = new Uint8Array(windowBytes);
  for (const { level, index, marks } of markedWindows(windows, markOwn(windows))) {
    const at = (windows.levels[level].firstWindow + index) * windowBytes;
    const { bytes } = windows.get(level, index);
    lower.read(merged, at);
    for (let slot = 0; slot < windowEntries; slot++) {
      if (marks[slot] === 0) continue;
      const from = slot * digestBytes;
      for (let i = from; i < from + digestBytes; i++) merged[i] = bytes[i];
    }
    lower.write(merged, at);
  }
}

/**
 * True if every node that a layer has is that over its children, and every entry below such nodes has a node above
 * it that is at least as new.
 */
export function nodesAgree(windows: DigestWindows, hasher: NodeHasher): boolean {
  const { absent, levels } = windows;
  const nodes = new Uint8Array(nodesOverWindow * digestBytes);
  const newest = new Uint8Array(nodesOverWindow);
  const markPresent: Mark = (level, index, entries, marks) => {
    const { sources } = windows.get(level, index);
    for (let slot = 0; slot < entries; slot++) marks[slot] = Number(sources[slot] !== absent);
  };
  for (const { level, index, marks } of markedWindows(windows, markPresent)) {
    if (level === 0) continue;
    for (const child of markedChildren(marks, index, levels[level - 1].windows)) {
      const entries = entriesOfWindow(levels[level - 1], child);
      const below = windows.get(level - 1, child);
      hasher.nodesOver(below.bytes, 0, entries, nodes);
      newest.fill(absent);
      for (let slot = 0; slot < entries; slot++) {
        const node = Math.floor(slot / nodeChildren);
        if (below.sources[slot] < newest[node]) newest[node] = below.sources[slot];
      }
      const { bytes, sources } = windows.get(level, index);
      const first = (child % windowChildren) * nodesOverWindow;
      const count = Math.ceil(entries / nodeChildren);
      for (let i = 0; i < count * digestBytes; i++) {
        if (bytes[first * digestBytes + i] !== nodes[i]) return false;
      }
      for (let node = 0; node < count; node++) if (sources[first + node] > newest[node]) return false;
    }
  }
  return true;
}

function markOwn(windows: DigestWindows): Mark {
  return (level, index, entries, marks) => {
    const { sources } = windows.get(level, index);
    for (let slot = 0; slot < entries; slot++) marks[slot] = Number(sources[slot] === 0);
  };
}

function* runsOf(windows: DigestWindows, mark: Mark): Generator<BlockRun> {
  let block = 0;
  let count = 0;
  for (const { level, index, marks } of markedWindows(windows, mark)) {
    if (level > 0) continue;
    for (let slot = 0; slot < windowEntries; slot++) {
      if (marks[slot] === 0) continue;
      const next = index * windowEntries + slot;
      if (count > 0 && next === block + count) {
        count++;
        continue;
      }
      if (count > 0) yield { block, count };
      block = next;
      count = 1;
    }
  }
  if (count > 0) yield { block, count };
}

/** Windows with a mark whose nodes above are marked too: each before those below it, and in ascending order. */
function* markedWindows(
  windows: DigestWindows,
  mark: Mark,
  level = windows.levels.length - 1,
  index = 0,
  marksOfLevels = windows.levels.map(() => new Uint8Array(windowEntries)),
): Generator<MarkedWindow> {
  const marks = marksOfLevels[level];
  marks.fill(0);
  mark(level, index, entriesOfWindow(windows.levels[level], index), marks);
  if (!marks.includes(1)) return;
  yield { level, index, marks };
  if (level === 0) return;
  for (const child of markedChildren(marks, index, windows.levels[level - 1].windows)) {
    yield* markedWindows(windows, mark, level - 1, child, marksOfLevels);
  }
}

/** Windows of the level below, of which there are `limit`, under the marked entries of a window. */
function* markedChildren(marks: Uint8Array, index: number, limit: number): Generator<number> {
  const first = index * windowChildren;
  const count = Math.min(windowChildren, limit - first);
  for (let child = 0; child < count; child++) {
    const slot = child * nodesOverWindow;
    if (marks[slot] | marks[slot + 1] | marks[slot + 2] | marks[slot + 3]) yield first + child;
  }
}
