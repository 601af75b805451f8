/** A disk's content against its digests. */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun, ImageChain } from "../../src/disk/index.ts";
import type { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";

const runBlocks = 128;

/**
 * Compares content with digests: all of it, or only what the newest image has digests of itself. Returns what is
 * wrong first, or null; null also when `isWanted` says no. Lets other work in between.
 */
export async function findDiskDamage(
  core: Core,
  content: ImageChain,
  digests: BlockDigests,
  ownBlocksOnly: boolean,
  isWanted: () => boolean,
): Promise<string | null> {
  if (!ownBlocksOnly && !digests.checkNodes()) return "a digest";
  const blocks = core.allocate(runBlocks * pageBytes);
  const found = core.allocate(runBlocks * digestBytes);
  const check = async (run: BlockRun): Promise<number | null> => {
    for (let done = 0; done < run.count && isWanted(); done += runBlocks) {
      const first = run.block + done;
      const count = Math.min(runBlocks, run.count - done);
      content.readBlocks(core.bytes(), blocks, first, count);
      core.raw.pageDigests(blocks, count, digests.keyPointer, found);
      for (let i = 0; i < count; i++) {
        if (!digests.equals(first + i, core.bytes(), found + i * digestBytes)) return first + i;
      }
      await nextTurn();
    }
    return null;
  };
  try {
    // What has content must have that digest, and what has a digest must have that content.
    const runs = ownBlocksOnly ? [digests.ownRuns()] : [content.dataRuns(), digests.nonZeroRuns()];
    for (const one of runs) {
      for (const run of one) {
        const damaged = await check(run);
        if (damaged !== null) return `block ${damaged}`;
      }
    }
    return null;
  } finally {
    core.release(blocks);
    core.release(found);
  }
}
