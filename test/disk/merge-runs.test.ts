import fc from "fast-check";
import t from "tap";
import { mergeRuns } from "../../cli/disk/merge-runs.ts";
import type { BlockRun } from "../../src/disk/index.ts";

const runs = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 1, max: 5 })), { maxLength: 12 })
  .map((steps) => {
    let next = 0;
    return steps.map(([gap, count]): BlockRun => {
      const block = next + gap;
      next = block + count;
      return { block, count };
    });
  });

const blocksOf = (list: readonly BlockRun[]) =>
  list.flatMap(({ block, count }) => Array.from({ length: count }, (_, i) => block + i));

t.test("merged runs are those of both, each block once, and apart from one another", (t) => {
  fc.assert(
    fc.property(runs, runs, (a, b) => {
      const merged = [...mergeRuns(a.values(), b.values())];
      const expected = [...new Set([...blocksOf(a), ...blocksOf(b)])].sort((x, y) => x - y);
      const isApart = merged.every(
        ({ block }, i) => i === 0 || block > merged[i - 1].block + merged[i - 1].count,
      );
      return isApart && JSON.stringify(blocksOf(merged)) === JSON.stringify(expected);
    }),
  );
  t.end();
});
