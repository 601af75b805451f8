import t from "tap";
import type { ExperimentRecord } from "../../../cli/experiments/record.ts";
import { groupRuns } from "../../../cli/experiments/report/groups.ts";
import { savingsOf } from "../../../cli/experiments/report/savings.ts";
import { syntheticRecord } from "./synthetic-records.ts";

function savings(...records: readonly ExperimentRecord[]) {
  const [one] = groupRuns(records);
  return one === undefined ? [] : savingsOf(one);
}

const first = (totalMs: number, wireBytes: number, repeat = 1) =>
  syntheticRecord({ method: "bfmig-first", totalMs, wireBytes, repeat });

t.test("savings are of medians, with the worst and the best pair of runs", async (t) => {
  const [saved] = savings(
    syntheticRecord({ totalMs: 80, wireBytes: 1000 }),
    syntheticRecord({ totalMs: 100, wireBytes: 1000, repeat: 2 }),
    syntheticRecord({ totalMs: 120, wireBytes: 1000, repeat: 3 }),
    first(5, 100),
    first(10, 100, 2),
    first(20, 100, 3),
  );
  t.strictSame(saved?.time.plain, {
    median: 0.9,
    least: 0.75,
    most: 1 - 5 / 120,
    baseline: "precopy",
    baselineDiverged: 0,
  });
  t.equal(saved?.bytes.plain?.median, 0.9);
});

t.test(
  "QEMU's best is chosen for time and for bytes by itself, and QEMU's own are held against plain only",
  async (t) => {
    const found = savings(
      syntheticRecord({ totalMs: 100, wireBytes: 1000 }),
      syntheticRecord({ method: "xbzrle", totalMs: 40, wireBytes: 900 }),
      syntheticRecord({ method: "multifd-zstd", totalMs: 50, wireBytes: 500 }),
      first(20, 1000),
    );
    t.strictSame(
      found.map(({ group }) => group.method),
      ["xbzrle", "multifd-zstd", "bfmig-first"],
    );
    t.match(found[0], { time: { plain: { median: 0.6 }, best: null } });
    t.match(found[2]?.time.best, { baseline: "xbzrle", median: 0.5 });
    t.match(found[2]?.bytes.best, { baseline: "multifd-zstd", median: -1 }, "a loss is below 0");
  },
);

t.test("without a run to compare with there is no saving", async (t) => {
  t.match(savings(first(1, 1)), [{ time: { plain: null, best: null } }]);
  const diverged = syntheticRecord({ converged: false });
  t.match(savings(diverged, first(1, 1)), [{ time: { plain: null, best: null } }]);
  t.match(savings(syntheticRecord(), { ...first(1, 1), converged: false }), [{ time: { plain: null } }]);
  t.match(
    savings(syntheticRecord({ totalMs: 0 }), first(1, 1)),
    [{ time: { plain: null } }],
    "no division by 0",
  );
});

t.test("a baseline that converged in part says so", async (t) => {
  const [saved] = savings(
    syntheticRecord({ totalMs: 100 }),
    syntheticRecord({ totalMs: 1e6, converged: false, repeat: 2 }),
    first(10, 1),
  );
  t.match(saved?.time, { plain: { median: 0.9, baselineDiverged: 1 }, best: { baselineDiverged: 1 } });
});
