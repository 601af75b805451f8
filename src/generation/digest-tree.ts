/**
 * Page digests of a generation and the root over them.
 *
 *     root    BLAKE3-256, keyed, of: "bfmig root 1\0", then for each region, and for each disk, its name,
 *             length and top, then the device state's digest
 *     top     the one node left of a region's tree
 *     node    BLAKE3-128, keyed, of up to 64 children (16 bytes each)
 *     leaf    BLAKE3-128, keyed, of a page's 4096 bytes
 *
 * Nodes are computed again only along the paths above pages that changed, so the root after the last
 * round costs what the last round changed. The root covers contents, not how they are stored.
 */

import { concatBytes } from "../bytes.ts";
import type { Core } from "../core.ts";
import type { DiskShape } from "./disks.ts";
import type { Geometry, PlacedRegion } from "./geometry.ts";

/** Bytes of a page digest and of a node. */
export const digestBytes = 16;
/** Children of a node. */
export const fanout = 64;
/** Nodes computed at once: the kernel does four side by side. */
const batchNodes = 16;
const rootLabel = "bfmig root 1\0";
/** Set in the length of a disk's name, so that a disk is never taken for a RAM block. */
const diskMark = 0x8000;

/** A disk as the root covers it. */
export interface DiskTop extends DiskShape {
  /** Top of the tree over the disk's block digests, 16 bytes. */
  readonly top: Uint8Array;
}

/** Digests of all pages, in the order of the page space, with the tree above them. */
export class PageDigests {
  readonly geometry: Geometry;
  /** 16 bytes a page. Change it only through `set`. */
  readonly digests: Uint8Array;
  /** Digest of a page of zeroes under this key. */
  readonly zero: Uint8Array;
  private readonly core: Core;
  private readonly key: number;
  private readonly trees: readonly RegionTree[];
  private readonly scratch: number;

  /**
   * `key` has 32 bytes. Without `digests` (16 bytes a page, taken over, not copied) every page counts as zero.
   * Throws RangeError if a length is wrong.
   */
  constructor(core: Core, key: Uint8Array, geometry: Geometry, digests?: Uint8Array) {
    if (key.length !== 32) throw new RangeError(`Cannot use key: ${key.length} bytes, 32 expected`);
    this.core = core;
    this.geometry = geometry;
    this.key = core.allocate(32);
    core.bytes().set(key, this.key);
    this.scratch = core.allocate(batchNodes * (fanout + 1) * digestBytes);
    this.zero = core.blake3(new Uint8Array(4096), key, digestBytes);
    if (digests && digests.length !== geometry.totalPages * digestBytes) {
      throw new RangeError(
        `Cannot use digests: ${digests.length} bytes for ${geometry.totalPages} pages of ${digestBytes}`,
      );
    }
    this.digests = digests ?? repeated(this.zero, geometry.totalPages);
    this.trees = geometry.regions.map((region) => new RegionTree(region, this.digests));
  }

  /** Pointer to the 32-byte key in the core's memory, for kernels. */
  get keyPointer(): number {
    return this.key;
  }

  /** Gives the memory in the core back. */
  release(): void {
    this.core.release(this.key);
    this.core.release(this.scratch);
  }

  /** Sets the digest of a page (counted over all regions) to the 16 bytes at `from[at]`. */
  set(region: number, page: number, from: Uint8Array, at: number): void {
    const target = page * digestBytes;
    for (let i = 0; i < digestBytes; i++) this.digests[target + i] = from[at + i];
    this.trees[region].touch(page - this.geometry.regions[region].firstPage);
  }

  /** True if the page's digest is the 16 bytes at `from[at]`. */
  equals(page: number, from: Uint8Array, at: number): boolean {
    const own = page * digestBytes;
    for (let i = 0; i < digestBytes; i++) if (this.digests[own + i] !== from[at + i]) return false;
    return true;
  }

  /** True if the page is known to be all zero. */
  isZero(page: number): boolean {
    return this.equals(page, this.zero, 0);
  }

  /** Brings all nodes up to date, so that a root asked for later costs only what changes in between. */
  refresh(): void {
    for (const tree of this.trees) tree.top(this.core, this.key, this.scratch);
  }

  /** The root over geometry and contents of RAM and of disks, and over the device state's 32-byte digest. */
  root(deviceDigest: Uint8Array, disks: readonly DiskTop[] = []): Uint8Array {
    const tops = this.trees.map((tree) => tree.top(this.core, this.key, this.scratch));
    const key = this.core.bytes().slice(this.key, this.key + 32);
    return rootOver(this.core, key, this.geometry, tops, deviceDigest, disks);
  }
}

/** The root, from the top of each region's tree in the order of the regions. */
export function rootOver(
  core: Core,
  key: Uint8Array,
  geometry: Geometry,
  tops: readonly Uint8Array[],
  deviceDigest: Uint8Array,
  disks: readonly DiskTop[],
): Uint8Array {
  const encoder = new TextEncoder();
  const parts: Uint8Array[] = [encoder.encode(rootLabel)];
  const add = (name: string, lengthBytes: number, mark: number, top: Uint8Array) => {
    const text = encoder.encode(name);
    const head = new Uint8Array(10);
    const view = new DataView(head.buffer);
    view.setUint16(0, text.length | mark, true);
    view.setBigUint64(2, BigInt(lengthBytes), true);
    parts.push(head, text, top);
  };
  for (const [i, { name, lengthBytes }] of geometry.regions.entries()) add(name, lengthBytes, 0, tops[i]);
  for (const { name, lengthBytes, top } of disks) add(name, lengthBytes, diskMark, top);
  parts.push(deviceDigest);
  return core.blake3(concatBytes(parts), key, 32);
}

/** Levels above one region's digests; a level's dirty list names the nodes to compute again. */
class RegionTree {
  private readonly levels: Uint8Array[] = [];
  private dirty: Set<number> | null = null;

  constructor(region: PlacedRegion, digests: Uint8Array) {
    const from = region.firstPage * digestBytes;
    let below = digests.subarray(from, from + region.pages * digestBytes);
    this.levels.push(below);
    do {
      below = new Uint8Array(Math.ceil(below.length / digestBytes / fanout) * digestBytes);
      this.levels.push(below);
    } while (below.length > digestBytes);
  }

  touch(page: number): void {
    this.dirty?.add(Math.floor(page / fanout));
  }

  top(core: Core, key: number, scratch: number): Uint8Array {
    let dirty: Iterable<number> = this.dirty ?? everyNode(this.levels[1]);
    for (let level = 1; level < this.levels.length; level++) {
      const above = new Set<number>();
      let first = 0;
      let count = 0;
      for (const node of dirty) {
        above.add(Math.floor(node / fanout));
        if (node === first + count && count < batchNodes) {
          count++;
          continue;
        }
        this.computeNodes(core, key, scratch, level, first, count);
        first = node;
        count = 1;
      }
      this.computeNodes(core, key, scratch, level, first, count);
      dirty = above;
    }
    this.dirty = new Set();
    return this.levels[this.levels.length - 1];
  }

  /** Computes `count` neighbours, at most `batchNodes`. Only a level's last node has fewer than `fanout` children. */
  private computeNodes(
    core: Core,
    key: number,
    scratch: number,
    level: number,
    first: number,
    count: number,
  ): void {
    if (count === 0) return;
    const from = first * fanout * digestBytes;
    const children = this.levels[level - 1].subarray(from, from + count * fanout * digestBytes);
    const memory = core.bytes();
    memory.set(children, scratch);
    const out = scratch + batchNodes * fanout * digestBytes;
    core.raw.nodeDigests(scratch, children.length / digestBytes, key, out);
    this.levels[level].set(memory.subarray(out, out + count * digestBytes), first * digestBytes);
  }
}

function* everyNode(level: Uint8Array): Generator<number> {
  for (let node = 0; node < level.length / digestBytes; node++) yield node;
}

function repeated(digest: Uint8Array, count: number): Uint8Array {
  const all = new Uint8Array(count * digestBytes);
  if (count === 0) return all;
  all.set(digest);
  for (let filled = digestBytes; filled < all.length; filled *= 2) {
    all.copyWithin(filled, 0, Math.min(filled, all.length - filled));
  }
  return all;
}
