/** What differs between two generations of a VM. Nothing is written; memory does not grow with what differs. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { blocksOf, diskDifference } from "../../src/generation/disks.ts";
import { type Geometry, placeRegions, sameGeometry } from "../../src/generation/geometry.ts";
import { isSeed } from "../../src/generation/manifest.ts";
import { messageOf, OperationError } from "../errors.ts";
import { DirtyPicture } from "../inspect/dirty-picture.ts";
import type { FoundGeneration } from "../store/find-generation.ts";
import { readDigestKey } from "../verify/digest-key.ts";
import { diffDiskContents, diffDiskDigests } from "./disk-diff.ts";
import { diffContents, diffDigests } from "./ram-diff.ts";

/** Options of `diffGenerations`. */
export interface DiffOptions {
  /** Contents are compared, not digests. */
  readonly contents: boolean;
  /** File of the VM's digest key; null: beside the store. Only needed for digests of disks. */
  readonly keyPath: string | null;
  /** Called for each run of pages or blocks that differ, in ascending order. */
  readonly onRange: (range: DiffRange) => void;
}

/** Pages of a region, or blocks of a disk, that differ. */
export interface DiffRange {
  readonly kind: "region" | "disk";
  readonly name: string;
  /** First page of the region, or block of the disk. */
  readonly first: number;
  readonly count: number;
}

/** What differs in one region or disk. */
export interface DiffPart {
  readonly kind: "region" | "disk";
  readonly name: string;
  /** Pages or blocks that there are, that differ, and in how many runs. */
  readonly total: number;
  readonly differing: number;
  readonly ranges: number;
  readonly picture: readonly string[];
}

/** What differs in all. */
export interface DiffSummary {
  readonly vm: string;
  readonly generations: readonly [number, number];
  readonly roots: readonly [string, string];
  readonly comparedContents: boolean;
  /** True if the device states differ; so they do where one of both has none. */
  readonly device: boolean;
  /** Which of both are seeds: their memory is not of one instant, and they have no device state. */
  readonly seeds: readonly number[];
  readonly parts: readonly DiffPart[];
}

/**
 * Compares two generations. Throws OperationError: "usage" if they are of different VMs or shapes or a key is missing,
 * "verificationFailed" if one cannot be read.
 */
export async function diffGenerations(
  core: Core,
  a: FoundGeneration,
  b: FoundGeneration,
  options: DiffOptions,
): Promise<DiffSummary> {
  const [left, right] = [a.generation.manifest, b.generation.manifest];
  const geometry = await comparable(a, b);
  const parts: DiffPart[] = [];
  try {
    const tallies = geometry.regions.map(
      ({ name, pages }) => new Tally("region", name, pages, options.onRange),
    );
    const onPages = (region: number, first: number, count: number) => tallies[region].add(first, count);
    if (options.contents) diffContents(core, a.generation, b.generation, onPages);
    else diffDigests(geometry, a.generation, b.generation, onPages);
    parts.push(...tallies.map((tally) => tally.finish()));
    for (const [i, { name, lengthBytes, image }] of left.disks.entries()) {
      const tally = new Tally("disk", name, blocksOf(lengthBytes), options.onRange);
      const here = { images: imagesOf(a), id: image };
      const there = { images: imagesOf(b), id: right.disks[i].image };
      const onBlocks = ({ block, count }: { block: number; count: number }) => tally.add(block, count);
      if (options.contents) await diffDiskContents(core, here, there, onBlocks);
      else {
        const keys = options.keyPath === null ? [] : [options.keyPath];
        const key = await readDigestKey(
          `Cannot compare ${left.vm}`,
          left.vm,
          a.storePath ?? b.storePath,
          keys,
        );
        await diffDiskDigests(core, key, here, there, onBlocks);
      }
      parts.push(tally.finish());
    }
  } catch (error) {
    throw asUnreadable(error, left.vm);
  }
  return {
    vm: left.vm,
    generations: [left.generation, right.generation],
    roots: [left.root, right.root],
    comparedContents: options.contents,
    device: left.deviceDigest !== right.deviceDigest,
    seeds: [left, right].filter(isSeed).map(({ generation }) => generation),
    parts,
  };
}

/** Counts what differs in a part, and joins what follows one another. */
class Tally {
  private readonly kind: "region" | "disk";
  private readonly name: string;
  private readonly total: number;
  private readonly onRange: (range: DiffRange) => void;
  private readonly picture: DirtyPicture;
  private ranges = 0;
  private first = 0;
  private count = 0;

  constructor(kind: "region" | "disk", name: string, total: number, onRange: (range: DiffRange) => void) {
    this.kind = kind;
    this.name = name;
    this.total = total;
    this.onRange = onRange;
    this.picture = new DirtyPicture(total);
  }

  add(first: number, count: number): void {
    if (this.count > 0 && this.first + this.count === first) {
      this.count += count;
      return;
    }
    this.endRange();
    this.first = first;
    this.count = count;
  }

  finish(): DiffPart {
    this.endRange();
    const { kind, name, total, ranges, picture } = this;
    return { kind, name, total, differing: picture.count, ranges, picture: picture.draw() };
  }

  private endRange(): void {
    const { kind, name, first, count } = this;
    if (count === 0) return;
    this.count = 0;
    this.ranges++;
    this.picture.add(first, count);
    this.onRange({ kind, name, first, count });
  }
}

/** The geometry that both have. Throws OperationError "usage" unless both are states of one VM in one shape. */
async function comparable(a: FoundGeneration, b: FoundGeneration): Promise<Geometry> {
  const [left, right] = [a.generation.manifest, b.generation.manifest];
  const refuse = (why: string): never => {
    throw new OperationError(
      "usage",
      `Cannot compare generation ${left.generation} of ${left.vm} with generation ${right.generation} of ${right.vm}: ${why}`,
    );
  };
  if (left.vm !== right.vm) refuse("they are of different VMs, whose digests have different keys");
  const keys = await Promise.all([a, b].map(keyTextOf));
  if (keys[0] !== null && keys[1] !== null && keys[0] !== keys[1]) {
    refuse("their digest keys differ: they are different VMs of the same name");
  }
  const [here, there] = [placeRegions(left.regions), placeRegions(right.regions)];
  if (!sameGeometry(here, there)) refuse(`their RAM differs: ${shapeOf(here)} and ${shapeOf(there)}`);
  const difference = diskDifference(left.disks, right.disks);
  if (difference !== null) refuse(`their disks differ: ${difference}`);
  return here;
}

function shapeOf({ regions }: Geometry): string {
  return regions.map(({ name, lengthBytes }) => `${name} (${lengthBytes})`).join(", ");
}

/** The key that lies beside a store, as text; null if there is none. */
async function keyTextOf({ storePath, generation }: FoundGeneration): Promise<string | null> {
  if (storePath === null) return null;
  const path = join(`${storePath}.keys`, `${generation.manifest.vm}.key`);
  const text = await readFile(path, "utf8").catch(() => null);
  return text === null ? null : text.trim().toLowerCase();
}

function imagesOf({ images, generation }: FoundGeneration) {
  if (images !== null) return images;
  throw new OperationError(
    "usage",
    `Cannot compare disks of ${generation.directory}: images are only found in a store`,
  );
}

/** What keeps a generation from being read is damage of it. */
function asUnreadable(error: unknown, vm: string): unknown {
  const isKnown =
    error instanceof FormatError ||
    (error instanceof OperationError && error.reason === "failed") ||
    typeof (error as NodeJS.ErrnoException)?.syscall === "string";
  if (!isKnown) return error;
  return new OperationError("verificationFailed", `Cannot compare ${vm}: ${messageOf(error)}`, {
    cause: error,
  });
}
