/**
 * Digests of a disk's blocks, with the tree above them, in digest files instead of memory: a disk may have 2^32
 * blocks. The files form layers, as a disk's generations do: each has only what changed since the one below it, and
 * only the newest is written. The top is that of a region of RAM with the same digests (`digest-tree.ts`).
 *
 *   const digests = new BlockDigests(core, key, blocks, [newest, older]);
 *   if (!digests.equals(block, found, 0)) digests.set(block, found, 0);
 *   digests.flush();
 *
 * Between two calls of `flush` the newest file may have entries without nodes above them: what was not flushed when
 * a program ended is not fit for use.
 */

import { bytesEqual } from "../bytes.ts";
import type { Core } from "../core.ts";
import { type DigestStorage, digestLevels, nodeChildren, windowEntries } from "./block-digest-layout.ts";
import { NodeHasher, refreshNodes } from "./block-digest-nodes.ts";
import {
  type BlockRun,
  copyOwnEntries,
  differingRunsOf,
  nodesAgree,
  nonZeroRunsOf,
  ownRunsOf,
} from "./block-digest-walks.ts";
import { type DigestWindow, DigestWindows } from "./block-digest-windows.ts";
import { digestBytes } from "./digest-tree.ts";

const cacheBytesDefault = 8 << 20;
/** Nodes that wait for a refresh: at most as many as there are cached windows, so that these are still there. */
const dirtyNodesMax = 65536;
const dirtyNodesMin = 256;

/** Options of `BlockDigests`. */
export interface BlockDigestsOptions {
  /** False: `set` throws, and no storage is written. True by default. */
  readonly writable?: boolean;
  /** Memory for cached windows, 8 MiB by default. */
  readonly cacheBytes?: number;
}

/** Digests of all blocks of a disk, through all layers. */
export class BlockDigests {
  readonly blocks: number;
  /** Digest of a block of zeroes under this key. */
  readonly zero: Uint8Array;
  /**
   * For walks over the tree; write through `set`.
   *
   * @internal
   */
  readonly windows: DigestWindows;
  private readonly hasher: NodeHasher;
  private readonly isWritable: boolean;
  /** Nodes of level 1 that must be computed again. */
  private readonly dirty = new Set<number>();
  private readonly dirtyMax: number;
  private lastDirty = -1;
  /** The window that the last call used; its number tells whether it still is that window. */
  private leaf: DigestWindow;

  /**
   * `key` has 32 bytes; `blocks` is 1 to 2^32; `layers` newest first, 1 to 255. Throws RangeError for anything else.
   */
  constructor(
    core: Core,
    key: Uint8Array,
    blocks: number,
    layers: readonly DigestStorage[],
    options: BlockDigestsOptions = {},
  ) {
    const levels = digestLevels(blocks);
    this.blocks = blocks;
    this.isWritable = options.writable ?? true;
    this.hasher = new NodeHasher(core, key);
    try {
      const zeroEntries = this.hasher.zeroEntries(levels);
      this.zero = zeroEntries[0].each;
      this.windows = new DigestWindows(levels, zeroEntries, layers, options.cacheBytes ?? cacheBytesDefault);
      this.leaf = this.windows.get(0, 0);
    } catch (error) {
      this.hasher.release();
      throw error;
    }
    this.dirtyMax = Math.min(dirtyNodesMax, Math.max(dirtyNodesMin, this.windows.capacity));
  }

  /** Pointer to the 32-byte key in the core's memory, for kernels. */
  get keyPointer(): number {
    return this.hasher.key;
  }

  /** Gives the memory in the core back. Writes nothing. */
  release(): void {
    this.hasher.release();
  }

  /** True if the block's digest is the 16 bytes at `from[at]`. */
  equals(block: number, from: Uint8Array, at: number): boolean {
    const { bytes } = this.leafOf(block);
    const own = (block & (windowEntries - 1)) * digestBytes;
    for (let i = 0; i < digestBytes; i++) if (bytes[own + i] !== from[at + i]) return false;
    return true;
  }

  /** True if the block is known to be all zero. */
  isZero(block: number): boolean {
    const window = this.leafOf(block);
    return this.windows.isZero(window, block & (windowEntries - 1), 0, window.number);
  }

  /** True if the newest layer itself has an entry for the block. */
  hasOwn(block: number): boolean {
    return this.leafOf(block).sources[block & (windowEntries - 1)] === 0;
  }

  /** Copies the digests of `count` blocks from `block` on to `target[at]`. */
  copy(block: number, count: number, target: Uint8Array, at: number): void {
    for (let done = 0; done < count; ) {
      const { bytes } = this.leafOf(block + done);
      const slot = (block + done) % windowEntries;
      const take = Math.min(windowEntries - slot, count - done, this.blocks - block - done);
      target.set(bytes.subarray(slot * digestBytes, (slot + take) * digestBytes), at + done * digestBytes);
      done += take;
    }
  }

  /** Sets a block's digest, in the newest layer, to the 16 bytes at `from[at]`. Throws TypeError if not writable. */
  set(block: number, from: Uint8Array, at: number): void {
    if (!this.isWritable) throw new TypeError("Cannot set a digest: the digests were opened for reading");
    if (!this.windows.put(this.leafOf(block), block & (windowEntries - 1), from, at)) return;
    const node = Math.floor(block / nodeChildren);
    if (node === this.lastDirty) return;
    this.lastDirty = node;
    this.dirty.add(node);
    if (this.dirty.size >= this.dirtyMax) this.refresh();
  }

  /** Brings all nodes up to date, so that a top asked for later costs only what changes in between. */
  refresh(): void {
    if (this.dirty.size === 0) return;
    refreshNodes(this.windows, this.hasher, Uint32Array.from(this.dirty).sort());
    this.dirty.clear();
    this.lastDirty = -1;
  }

  /** The top of the tree, 16 bytes. Refreshes first. */
  top(): Uint8Array {
    this.refresh();
    return this.windows.get(this.windows.levels.length - 1, 0).bytes.slice(0, digestBytes);
  }

  /** Writes everything to the newest layer's storage. Refreshes first. */
  flush(): void {
    this.refresh();
    this.windows.flush();
  }

  /**
   * Runs of blocks that the newest layer itself has, in ascending order. Costs what is present. A change made while
   * iterating may or may not be seen; that holds for `nonZeroRuns` and `differingRuns` too.
   */
  *ownRuns(): Generator<BlockRun> {
    this.refresh();
    yield* ownRunsOf(this.windows);
  }

  /** Runs of blocks that are not zero, in ascending order. Costs what is present. */
  *nonZeroRuns(): Generator<BlockRun> {
    this.refresh();
    yield* nonZeroRunsOf(this.windows);
  }

  /**
   * Computes every node that a layer has again; true if all agree with what is stored, and no entry beside them lacks
   * a node in its layer. Costs what is present, so it does not find entries where no layer has a node at all.
   */
  checkNodes(): boolean {
    this.refresh();
    return nodesAgree(this.windows, this.hasher);
  }

  private leafOf(block: number): DigestWindow {
    if (!(block >= 0 && block < this.blocks)) {
      throw new RangeError(`Cannot find digest of block ${block}: the disk has ${this.blocks} blocks`);
    }
    const index = Math.floor(block / windowEntries);
    if (this.leaf.number !== index) this.leaf = this.windows.get(0, index);
    return this.leaf;
  }
}

/**
 * Runs of blocks whose digests differ, in ascending order; equal subtrees are skipped. Throws RangeError if the
 * numbers of blocks or the keys are not the same.
 */
export function* differingRuns(a: BlockDigests, b: BlockDigests): Generator<BlockRun> {
  if (a.blocks !== b.blocks) {
    throw new RangeError(`Cannot compare digests: ${a.blocks} blocks here, ${b.blocks} there`);
  }
  if (!bytesEqual(a.zero, b.zero)) throw new RangeError("Cannot compare digests: their keys differ");
  a.refresh();
  b.refresh();
  yield* differingRunsOf(a.windows, b.windows);
}

/**
 * Copies every entry of the newest layer of `upper` to `lowerStorage`, the layer right below it, which then answers
 * alone as both did. Throughout, and after a crash at any moment, `upper` over it answers the same; the copy can be
 * begun again. Writes what `upper` has cached first: make its storage durable before, `lowerStorage` after, and only
 * then drop `upper`.
 */
export function foldDigests(upper: BlockDigests, lowerStorage: DigestStorage): void {
  upper.flush();
  copyOwnEntries(upper.windows, lowerStorage);
}
