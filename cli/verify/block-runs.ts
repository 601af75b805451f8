/** Runs of blocks of a disk: where images have what, and lists of them. */

import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun, ImageChain } from "../../src/disk/index.ts";
import { ImageDamage, type ImageFile } from "./image-file.ts";

/** Places where an image could not be read, after which the rest of a disk is given up. */
const maxDamages = 256;

/** Consecutive blocks, and the image of a chain that answers for them. */
export interface AnsweredRun extends BlockRun {
  readonly kind: "data" | "zero" | "absent";
  /** Number of the image, newest first; the newest where none has anything. */
  readonly level: number;
}

/**
 * Like `dataRuns` of a chain, but goes on behind damaged tables. The blocks that cannot be looked up are handed to
 * `onDamage`; after many of them, with all that are left.
 */
export function* soundRuns(
  chain: ImageChain,
  onDamage: (run: BlockRun, damage: ImageDamage) => void,
  from = 0,
  to: number = chain.blocks,
  budget = { left: maxDamages },
): Generator<BlockRun> {
  let next = from;
  while (next < to) {
    let damage: ImageDamage;
    try {
      for (const run of chain.dataRuns(next, to)) {
        yield run;
        next = run.block + run.count;
      }
      return;
    } catch (error) {
      if (!(error instanceof ImageDamage)) throw error;
      damage = error;
    }
    const block = Math.max(next, Math.floor(damage.diskOffset / pageBytes));
    // What lies before the damage was collected, but not given.
    if (block > next) yield* soundRuns(chain, onDamage, next, block, budget);
    budget.left--;
    const count = budget.left > 0 ? 1 : to - block;
    onDamage({ block, count }, damage);
    next = block + count;
  }
}

/**
 * What the parts of a run are in a chain of images, in ascending order. A part that begins or ends within a block
 * counts for the whole block, so neighbours can share one. Blocks that cannot be looked up are left out.
 */
export function* answersFor(images: readonly ImageFile[], run: BlockRun): Generator<AnsweredRun> {
  const end = Math.min((run.block + run.count) * pageBytes, images[0].lengthBytes);
  for (let at = run.block * pageBytes; at < end; ) {
    try {
      const { kind, level, lengthBytes } = answerAt(images, at, end);
      const block = Math.floor(at / pageBytes);
      at += lengthBytes;
      yield { block, count: Math.ceil(at / pageBytes) - block, kind, level };
    } catch (error) {
      if (!(error instanceof ImageDamage)) throw error;
      at = (Math.floor(at / pageBytes) + 1) * pageBytes;
    }
  }
}

/** The parts of a run of which no image of a chain has data. What follows damaged tables counts as such. */
export function* withoutData(chain: ImageChain, run: BlockRun): Generator<BlockRun> {
  const end = run.block + run.count;
  let next = run.block;
  try {
    for (const { block, count } of chain.dataRuns(run.block, end)) {
      if (block > next) yield { block: next, count: block - next };
      next = block + count;
    }
  } catch (error) {
    if (!(error instanceof ImageDamage)) throw error;
  }
  if (next < end) yield { block: next, count: end - next };
}

/** Runs in ascending order, without overlaps; those that touch are joined. */
export function joinRuns(runs: readonly BlockRun[]): BlockRun[] {
  const joined: { block: number; count: number }[] = [];
  for (const { block, count } of [...runs].sort((a, b) => a.block - b.block)) {
    const last = joined[joined.length - 1];
    if (last && block <= last.block + last.count)
      last.count = Math.max(last.count, block + count - last.block);
    else joined.push({ block, count });
  }
  return joined;
}

/** Adds a block to runs: to the last one, if it follows it. */
export function appendBlock(runs: BlockRun[], block: number): void {
  const last = runs.at(-1);
  if (last && last.block + last.count === block) runs[runs.length - 1] = { ...last, count: last.count + 1 };
  else runs.push({ block, count: 1 });
}

/** True if a block is in one of the runs, which are in ascending order without overlaps. */
export function includesBlock(runs: readonly BlockRun[], block: number): boolean {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[middle].block + runs[middle].count <= block) low = middle + 1;
    else high = middle;
  }
  return low < runs.length && runs[low].block <= block;
}

function answerAt(images: readonly ImageFile[], at: number, limit: number) {
  let length = limit - at;
  for (const [level, image] of images.entries()) {
    // Beyond its end an image reads as zero, whatever is under it.
    if (at >= image.lengthBytes) return { kind: "zero" as const, level, lengthBytes: length };
    const status = image.status(at, Math.min(length, image.lengthBytes - at));
    length = status.lengthBytes;
    if (status.kind !== "absent") return { kind: status.kind, level, lengthBytes: length };
  }
  return { kind: "absent" as const, level: 0, lengthBytes: length };
}
