/**
 * The top of a tree over digests that come in order, for who has no room for all of them. The tree is that of
 * digest-tree.ts; of each level only the children of the node that is not complete yet are held.
 */

import type { Core } from "../core.ts";
import { digestBytes, fanout } from "./digest-tree.ts";

const nodeBytes = fanout * digestBytes;

/** Takes the digests of one region's pages. Takes 2 KiB of the core's memory until it is released. */
export class DigestStream {
  private readonly core: Core;
  /** Key, node, then the children that are hashed. */
  private readonly memory: number;
  private readonly levels: { readonly children: Uint8Array; filled: number }[] = [];

  /** `key` has 32 bytes. */
  constructor(core: Core, key: Uint8Array) {
    this.core = core;
    this.memory = core.allocate(64 + nodeBytes);
    core.bytes().set(key, this.memory);
  }

  /** The next digests, 16 bytes each. */
  add(digests: Uint8Array): void {
    this.push(0, digests);
  }

  /** The region's top, 16 bytes. Nothing can be added after it. Throws RangeError if nothing was. */
  top(): Uint8Array {
    for (let level = 0; level < this.levels.length; level++) {
      const { children, filled } = this.levels[level];
      const isHighest = level === this.levels.length - 1;
      if (level > 0 && isHighest && filled === digestBytes) return children.slice(0, digestBytes);
      if (filled > 0) this.complete(level);
    }
    throw new RangeError("Cannot make the top of a tree over no digests");
  }

  /** Gives the memory in the core back. */
  release(): void {
    this.core.release(this.memory);
  }

  private push(number: number, digests: Uint8Array): void {
    this.levels[number] ??= { children: new Uint8Array(nodeBytes), filled: 0 };
    const level = this.levels[number];
    for (let at = 0; at < digests.length; ) {
      const part = digests.subarray(at, at + nodeBytes - level.filled);
      level.children.set(part, level.filled);
      level.filled += part.length;
      at += part.length;
      if (level.filled === nodeBytes) this.complete(number);
    }
  }

  /** Makes a node of the children that are there. */
  private complete(number: number): void {
    const level = this.levels[number];
    const { core, memory } = this;
    const [node, children] = [memory + 32, memory + 64];
    core.bytes().set(level.children.subarray(0, level.filled), children);
    core.raw.nodeDigests(children, level.filled / digestBytes, memory, node);
    level.filled = 0;
    this.push(number + 1, core.bytes().slice(node, node + digestBytes));
  }
}
