/** Which nodes over a disk's digests are not those over what stands below them. */

import { bytesEqual } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import {
  entriesOfWindow,
  nodeChildren,
  nodesOverWindow,
  windowBytes,
  windowEntries,
} from "../../src/generation/block-digest-layout.ts";
import type { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";

/** An entry of a digest file: of level 0 the digest of a block, else a node. */
export interface DigestEntry {
  readonly level: number;
  /** Number in its level. */
  readonly entry: number;
}

/** Windows of a level below one window of the next. */
const windowChildren = windowEntries / nodesOverWindow;

/** Nodes that do not agree with the digests or nodes below them, or are older than these. Costs what is present. */
export function* disagreeingNodes(core: Core, digests: BlockDigests): Generator<DigestEntry> {
  const scratch = core.allocate(windowBytes);
  try {
    const { levels } = digests.windows;
    yield* walk(core, digests, scratch, levels.length - 1, 0);
  } finally {
    core.release(scratch);
  }
}

function* walk(
  core: Core,
  digests: BlockDigests,
  scratch: number,
  level: number,
  index: number,
): Generator<DigestEntry> {
  const { windows } = digests;
  const { levels, absent } = windows;
  if (level === 0) return;
  const window = windows.get(level, index);
  // Copied: the window is used for another one further down.
  const bytes = window.bytes.slice();
  const sources = window.sources.slice();
  const from = index * windowChildren;
  const children = Math.min(windowChildren, levels[level - 1].windows - from);
  for (let i = 0; i < children; i++) {
    const first = i * nodesOverWindow;
    if (sources.subarray(first, first + nodesOverWindow).every((source) => source === absent)) continue;
    const found = nodesOver(core, digests, scratch, level - 1, from + i);
    for (const [node, { newest, value }] of found.entries()) {
      const slot = first + node;
      const own = bytes.subarray(slot * digestBytes, (slot + 1) * digestBytes);
      if (newest < sources[slot] || !bytesEqual(value, own))
        yield { level, entry: index * windowEntries + slot };
    }
    yield* walk(core, digests, scratch, level - 1, from + i);
  }
}

/** The nodes over a window as they must be, and the newest layer that has something below each. */
function nodesOver(
  core: Core,
  digests: BlockDigests,
  scratch: number,
  level: number,
  index: number,
): { readonly value: Uint8Array; readonly newest: number }[] {
  const { windows, keyPointer } = digests;
  const { bytes, sources } = windows.get(level, index);
  const entries = entriesOfWindow(windows.levels[level], index);
  core.bytes().set(bytes.subarray(0, entries * digestBytes), scratch);
  const count = core.raw.nodeDigests(scratch, entries, keyPointer, scratch);
  return Array.from({ length: count }, (_, node) => {
    const from = scratch + node * digestBytes;
    let newest = windows.absent;
    const end = Math.min((node + 1) * nodeChildren, entries);
    for (let slot = node * nodeChildren; slot < end; slot++) newest = Math.min(newest, sources[slot]);
    return { value: core.bytes().slice(from, from + digestBytes), newest };
  });
}

/** First block that stands below an entry. */
export function firstBlockOf({ level, entry }: DigestEntry): number {
  return entry * nodeChildren ** level;
}

/** The layer that an entry comes from, and its position in that file; without a layer it is what zeroes have. */
export function placeOf(
  digests: BlockDigests,
  { level, entry }: DigestEntry,
): { layer: number | null; offset: number } {
  const { windows } = digests;
  const index = Math.floor(entry / windowEntries);
  const slot = entry % windowEntries;
  const source = windows.get(level, index).sources[slot];
  const offset = (windows.levels[level].firstWindow + index) * windowBytes + slot * digestBytes;
  return { layer: source === windows.absent ? null : source, offset };
}

/** The 16 bytes of an entry. */
export function bytesOf(digests: BlockDigests, { level, entry }: DigestEntry): Uint8Array {
  const slot = entry % windowEntries;
  const { bytes } = digests.windows.get(level, Math.floor(entry / windowEntries));
  return bytes.slice(slot * digestBytes, (slot + 1) * digestBytes);
}
