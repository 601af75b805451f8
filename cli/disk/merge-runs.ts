/** Joins two lists of block runs. */

import type { BlockRun } from "../../src/disk/index.ts";

/** Runs of blocks that are in one or both, in ascending order, without overlaps. Both must be in ascending order. */
export function* mergeRuns(a: Iterator<BlockRun>, b: Iterator<BlockRun>): Generator<BlockRun> {
  let left = a.next();
  let right = b.next();
  let open: { block: number; count: number } | null = null;
  while (!left.done || !right.done) {
    const takeLeft = right.done || (!left.done && left.value.block <= right.value.block);
    const { block, count } = (takeLeft ? left : right).value as BlockRun;
    if (takeLeft) left = a.next();
    else right = b.next();
    if (open !== null && block <= open.block + open.count) {
      open.count = Math.max(open.count, block + count - open.block);
      continue;
    }
    if (open !== null) yield open;
    open = { block, count };
  }
  if (open !== null) yield open;
}
