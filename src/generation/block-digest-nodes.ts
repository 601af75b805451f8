/** Nodes over block digests: computed in the core, brought up to date, and as they are over a disk of zeroes. */

import type { Core } from "../core.ts";
import {
  type DigestLevel,
  entriesOfWindow,
  nodeChildren,
  nodesOverWindow,
  windowBytes,
  windowEntries,
  type ZeroEntries,
} from "./block-digest-layout.ts";
import type { DigestWindows } from "./block-digest-windows.ts";
import { digestBytes } from "./digest-tree.ts";

/** Computes nodes under a key. Holds the key and one window in the core's memory. */
export class NodeHasher {
  /** Pointer to the 32-byte key in the core's memory. */
  readonly key: number;
  private readonly core: Core;
  private readonly scratch: number;

  /** Throws RangeError unless `key` has 32 bytes. */
  constructor(core: Core, key: Uint8Array) {
    if (key.length !== 32) throw new RangeError(`Cannot use key: ${key.length} bytes, 32 expected`);
    this.core = core;
    this.key = core.allocate(32);
    this.scratch = core.allocate(windowBytes);
    core.bytes().set(key, this.key);
  }

  /** Gives the memory in the core back. */
  release(): void {
    this.core.release(this.key);
    this.core.release(this.scratch);
  }

  /** Puts the nodes over `count` entries (up to a window) at `from[at]` to `out`: 16 bytes for each 64 of them. */
  nodesOver(from: Uint8Array, at: number, count: number, out: Uint8Array): void {
    const { core, scratch } = this;
    core.bytes().set(from.subarray(at, at + count * digestBytes), scratch);
    const nodes = core.raw.nodeDigests(scratch, count, this.key, scratch);
    out.set(core.bytes().subarray(scratch, scratch + nodes * digestBytes));
  }

  /** What the entries of each level are on a disk of zeroes. */
  zeroEntries(levels: readonly DigestLevel[]): ZeroEntries[] {
    const zero = this.zeroBlock();
    const all: ZeroEntries[] = [{ each: zero, last: zero }];
    for (const { entries } of levels.slice(0, -1)) {
      const below = all[all.length - 1];
      const lastCount = entries - (Math.ceil(entries / nodeChildren) - 1) * nodeChildren;
      all.push({
        each: this.nodeOver(below.each, below.each, nodeChildren),
        last: this.nodeOver(below.each, below.last, lastCount),
      });
    }
    return all;
  }

  private zeroBlock(): Uint8Array {
    const { core, scratch } = this;
    core.bytes().fill(0, scratch, scratch + windowBytes);
    core.raw.pageDigest(scratch, this.key, scratch);
    return core.bytes().slice(scratch, scratch + digestBytes);
  }

  private nodeOver(each: Uint8Array, last: Uint8Array, count: number): Uint8Array {
    const children = new Uint8Array(count * digestBytes);
    for (let child = 0; child < count - 1; child++) children.set(each, child * digestBytes);
    children.set(last, (count - 1) * digestBytes);
    const node = new Uint8Array(digestBytes);
    this.nodesOver(children, 0, count, node);
    return node;
  }
}

/** Computes nodes of level 1, given in ascending order, and all above them again, as the newest layer's own. */
export function refreshNodes(
  windows: DigestWindows,
  hasher: NodeHasher,
  lowest: Uint32Array<ArrayBuffer>,
): void {
  let nodes = lowest;
  for (let level = 1; level < windows.levels.length; level++) {
    computeNodes(windows, hasher, level, nodes);
    nodes = parentsOf(nodes);
  }
}

/** Computes together those nodes of a level whose children share a window. */
function computeNodes(windows: DigestWindows, hasher: NodeHasher, level: number, nodes: Uint32Array): void {
  const below = windows.levels[level - 1];
  const computed = new Uint8Array(nodesOverWindow * digestBytes);
  for (let i = 0; i < nodes.length; ) {
    const first = nodes[i];
    const index = Math.floor(first / nodesOverWindow);
    let end = i + 1;
    while (end < nodes.length && Math.floor(nodes[end] / nodesOverWindow) === index) end++;
    const from = (first % nodesOverWindow) * nodeChildren;
    const to = ((nodes[end - 1] % nodesOverWindow) + 1) * nodeChildren;
    const count = Math.min(to, entriesOfWindow(below, index)) - from;
    hasher.nodesOver(windows.get(level - 1, index).bytes, from * digestBytes, count, computed);
    const parent = windows.get(level, Math.floor(first / windowEntries));
    for (; i < end; i++) {
      windows.put(parent, nodes[i] % windowEntries, computed, (nodes[i] - first) * digestBytes);
    }
  }
}

/** Nodes of the next level above nodes given in ascending order. */
function parentsOf(nodes: Uint32Array): Uint32Array<ArrayBuffer> {
  let count = 0;
  const parents = new Uint32Array(nodes.length);
  for (const node of nodes) {
    const parent = Math.floor(node / nodeChildren);
    if (count === 0 || parents[count - 1] !== parent) parents[count++] = parent;
  }
  return parents.slice(0, count);
}
