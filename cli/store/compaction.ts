/**
 * Makes a complete image of a generation whose chain has become long, so that chains stay short.
 *
 * Crash-safe in every step: the new image is written beside and renamed over the overlay (whose pages it
 * contains), then the manifest is replaced by one without a base, then the delta goes. A generation is
 * whole before, between and after these steps. Images of other generations, which a QEMU may map, are not touched.
 */

import { closeSync, constants, fsyncSync, openSync, writeSync } from "node:fs";
import { copyFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { encodeManifest, type Manifest } from "../../src/generation/manifest.ts";
import { partialPrefix, storeError, syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import { GenerationContent, imagePathOf, type StoredGeneration } from "./generation-reader.ts";

/** Deltas above a complete image from which on a generation is compacted. */
export const maxChainDeltas = 4;

const runPages = 256;

/** True if the generation's chain should be shortened. */
export function needsCompaction(generation: StoredGeneration): boolean {
  return generation.below.length >= maxChainDeltas;
}

/** Gives the generation a complete image of its own. Works in small steps, so that an agent can go on meanwhile. */
export async function compact(core: Core, generation: StoredGeneration): Promise<StoredGeneration> {
  if (generation.below.length === 0) return generation;
  const { directory } = generation;
  const beside = join(directory, `${partialPrefix}ram.img`);
  try {
    await rm(beside, { force: true });
    // A reflink where the file system can; else a copy, which keeps holes where the platform's copy does.
    await copyFile(imagePathOf(generation), beside, constants.COPYFILE_FICLONE);
    await applyPagesAbove(core, generation, beside);
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

async function applyPagesAbove(core: Core, generation: StoredGeneration, path: string): Promise<void> {
  const content = new GenerationContent(core, generation);
  const scratch = core.allocate(runPages * pageBytes);
  const file = openSync(path, "r+");
  try {
    let first = 0;
    let count = 0;
    const writeRun = () => {
      if (count === 0) return;
      content.readPages(first, count, scratch);
      const length = count * pageBytes;
      for (let at = 0; at < length; ) {
        at += writeSync(file, core.bytes(), scratch + at, length - at, first * pageBytes + at);
      }
    };
    for (const page of content.pagesAboveImage()) {
      if (page === first + count && count < runPages) {
        count++;
        continue;
      }
      writeRun();
      first = page;
      count = 1;
      await nextTurn();
    }
    writeRun();
    fsyncSync(file);
  } finally {
    closeSync(file);
    core.release(scratch);
    content.close();
  }
}
