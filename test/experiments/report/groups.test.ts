import t from "tap";
import { groupRuns, hasSeveralVersions } from "../../../cli/experiments/report/groups.ts";
import { syntheticRecord } from "./synthetic-records.ts";

t.test(
  "repeats of a method in a situation are one group, and what did not converge is in no figure",
  async (t) => {
    const [one, ...others] = groupRuns([
      syntheticRecord({ totalMs: 30, wireBytes: 3, gapMs: null }),
      syntheticRecord({ totalMs: 10, wireBytes: 1, repeat: 2 }),
      syntheticRecord({ totalMs: 1e9, wireBytes: 1e9, repeat: 3, converged: false }),
      syntheticRecord({ totalMs: 20, wireBytes: 2, repeat: 4 }),
    ]);
    t.strictSame(others, []);
    t.equal(one?.groups.length, 1);
    t.match(one?.groups[0], {
      method: "precopy",
      totalMs: { n: 3, median: 20, most: 30 },
      wireBytes: { n: 3, most: 3 },
      gapMs: { n: 2 },
      diverged: [{ repeat: 3 }],
    });
  },
);

t.test("a group without a run that converged has no figures", async (t) => {
  const [one] = groupRuns([syntheticRecord({ converged: false })]);
  t.match(one?.groups[0], { totalMs: null, downtimeMs: null, wireBytes: null, converged: [] });
});

t.test("every part of a situation makes another one", async (t) => {
  const plain = syntheticRecord();
  const records = [
    plain,
    syntheticRecord({ workload: "redis" }),
    syntheticRecord({ workload: "dirtier", dirtyPagesPerSecond: 10 }),
    syntheticRecord({ workload: "dirtier", dirtyPagesPerSecond: 20 }),
    syntheticRecord({ memoryBytes: 1 }),
    syntheticRecord({ age: "fresh" }),
    syntheticRecord({ diskBytes: 1 }),
    syntheticRecord({ link: { ...plain.link, rttMs: 1 } }),
    syntheticRecord({ link: { ...plain.link, bitsPerSecond: 1 } }),
    syntheticRecord({ qemuVersion: "10.0.8" }),
  ];
  const found = groupRuns([...records].reverse());
  t.equal(found.length, records.length);
  t.ok(hasSeveralVersions(found));
  t.notOk(hasSeveralVersions(groupRuns(records.slice(0, -1))));
  t.strictSame(
    [...new Set(found.map(({ situation }) => situation.workload))],
    ["idle", "redis", "dirtier"],
    "in the order of the workloads",
  );
});

t.test(
  "methods keep their order, and returns are told apart by the time away but not by its jitter",
  async (t) => {
    const back = (awayMs: number, repeat: number) =>
      syntheticRecord({ method: "bfmig-return", awayMs, repeat });
    const [one] = groupRuns([
      back(600_000, 1),
      back(60_000, 1),
      back(61_000, 2),
      back(60_500, 3),
      syntheticRecord({ method: "bfmig-first" }),
      syntheticRecord({ method: "xbzrle" }),
      syntheticRecord(),
    ]);
    t.strictSame(
      one?.groups.map(({ method, awayMs, converged }) => [method, awayMs, converged.length]),
      [
        ["precopy", null, 1],
        ["xbzrle", null, 1],
        ["bfmig-first", null, 1],
        ["bfmig-return", 60_500, 3],
        ["bfmig-return", 600_000, 1],
      ],
    );
  },
);
