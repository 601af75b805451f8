/**
 * Makes a complete image of a generation whose chain has become long, so that chains stay short.
 *
 * Crash-safe in every step: the new image is written beside and renamed over the overlay (whose pages it
 * contains), then the manifest is replaced by one without a base, then the delta goes. A generation is
 * whole before, between and after these steps. Images of other generations, which a QEMU may map, are not touched.
 *
 * Bounded: nothing is begun that the disk has no room for, and the writing of the image ends at its next step when
 * it is not wanted any more. Until then nothing of the generation has changed.
 */

import { closeSync, constants, fsyncSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { copyFile, rename, rm, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { encodeManifest, type Manifest } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { partialPrefix, storeError, syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import { chainOf, GenerationContent, imagePathOf, type StoredGeneration } from "./generation-reader.ts";

/** Deltas above a complete image from which on a generation is compacted. */
export const maxChainDeltas = 4;

/** Pages of one step. */
const runPages = 256;
/** What a compaction leaves free on the disk, in bytes: legs need room at once. */
const reserveBytes = 64 << 20;
/** `stat` counts in these units, whatever the file system. */
const statBlockBytes = 512;

/** True if the generation's chain should be shortened. */
export function needsCompaction(generation: StoredGeneration): boolean {
  return generation.below.length >= maxChainDeltas;
}

/**
 * Gives the generation a complete image of its own. Works in small steps, so that an agent can go on meanwhile; returns
 * the generation as it was when `isWanted` has become false. Throws OperationError, also if the disk lacks room.
 */
export async function compact(
  core: Core,
  generation: StoredGeneration,
  isWanted: () => boolean = () => true,
): Promise<StoredGeneration> {
  if (generation.below.length === 0) return generation;
  const { directory } = generation;
  const beside = join(directory, `${partialPrefix}ram.img`);
  try {
    await rm(beside, { force: true });
    await requireRoom(generation);
    const isWhole = await writeImage(core, generation, beside, isWanted);
    if (!isWhole) {
      await rm(beside, { force: true });
      return generation;
    }
    await rename(beside, join(directory, "ram.img"));
    await syncDirectory(directory);
    const { delta: _delta, ...files } = generation.manifest.files;
    const manifest: Manifest = { ...generation.manifest, base: null, files };
    await writeFileAtomically(join(directory, "manifest.json"), encodeManifest(core, manifest));
    await rm(join(directory, "delta"), { force: true });
    return { manifest, directory, below: [] };
  } catch (error) {
    await rm(beside, { force: true });
    throw storeError(`Cannot compact generation ${generation.manifest.generation}`, error);
  }
}

/** Throws OperationError unless all that the chain's images take would fit once more. */
async function requireRoom(generation: StoredGeneration): Promise<void> {
  let neededBytes = reserveBytes;
  for (const { directory } of chainOf(generation)) {
    neededBytes += (await stat(join(directory, "ram.img"))).blocks * statBlockBytes;
  }
  const { bavail, bsize } = await statfs(generation.directory);
  if (bavail * bsize >= neededBytes) return;
  throw new OperationError(
    "failed",
    `Cannot compact generation ${generation.manifest.generation}: ${neededBytes} bytes may be needed, ` +
      `${bavail * bsize} are free; prune generations with 'bfmig prune', or make room`,
  );
}

/** Writes the complete image, durably; false if it was given up. */
async function writeImage(
  core: Core,
  generation: StoredGeneration,
  path: string,
  isWanted: () => boolean,
): Promise<boolean> {
  const isCloned = await clone(imagePathOf(generation), path);
  const content = new GenerationContent(core, generation);
  const scratch = core.allocate(runPages * pageBytes);
  let file: number | null = null;
  try {
    file = openSync(path, isCloned ? "r+" : "wx+", 0o600);
    const { totalPages } = content.geometry;
    if (!isCloned) ftruncateSync(file, totalPages * pageBytes);
    const runs = isCloned ? runsOf(content.pagesAboveImage()) : wholeRuns(totalPages);
    for (const { first, count } of runs) {
      if (!isWanted()) return false;
      content.readPages(first, count, scratch);
      if (isCloned) writePages(core, file, first, count, scratch);
      else writeNonZero(core, file, first, count, scratch);
      await nextTurn();
    }
    fsyncSync(file);
    return true;
  } finally {
    if (file !== null) closeSync(file);
    core.release(scratch);
    content.close();
  }
}

/** A reflink, where the file system can: it takes no room and no time. A plain copy would lose an image's holes. */
async function clone(from: string, to: string): Promise<boolean> {
  try {
    await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    await rm(to, { force: true });
    return false;
  }
}

interface Run {
  readonly first: number;
  readonly count: number;
}

/** Pages in ascending order as runs, none of them longer than a step. */
function* runsOf(pages: Iterable<number>): Generator<Run> {
  let first = 0;
  let count = 0;
  for (const page of pages) {
    if (page === first + count && count < runPages) {
      count++;
      continue;
    }
    if (count > 0) yield { first, count };
    first = page;
    count = 1;
  }
  if (count > 0) yield { first, count };
}

function* wholeRuns(totalPages: number): Generator<Run> {
  for (let first = 0; first < totalPages; first += runPages) {
    yield { first, count: Math.min(runPages, totalPages - first) };
  }
}

/** Writes the pages that are not zero, in runs: the file has holes where nothing was written. */
function writeNonZero(core: Core, file: number, first: number, count: number, pages: number): void {
  const isZero = (i: number) => core.raw.isZero(pages + i * pageBytes, pageBytes) === 1;
  for (let from = 0; from < count; ) {
    if (isZero(from)) {
      from++;
      continue;
    }
    let to = from + 1;
    while (to < count && !isZero(to)) to++;
    writePages(core, file, first + from, to - from, pages + from * pageBytes);
    from = to;
  }
}

function writePages(core: Core, file: number, first: number, count: number, pages: number): void {
  const length = count * pageBytes;
  for (let at = 0; at < length; ) {
    at += writeSync(file, core.bytes(), pages + at, length - at, first * pageBytes + at);
  }
}
