import t from "tap";
import { estimateSessionMs } from "../../cli/experiments/estimate.ts";
import type { Experiment } from "../../cli/experiments/plan.ts";

const run: Experiment = {
  workload: "idle",
  dirtyPagesPerSecond: null,
  memoryMiB: 512,
  age: "aged",
  link: { bitsPerSecond: 50e6, rttMs: 200 },
  method: "precopy",
  awayMs: null,
  repeat: 1,
};

t.test("an estimate counts the boot once, what is sent, and times away", async (t) => {
  t.equal(estimateSessionMs([]), 0);
  const one = estimateSessionMs([run]);
  // 512 MiB, of which 95 % are sent with 5 % around them, at 6.25 MB/s.
  const sendingMs = (512 * 2 ** 20 * 0.95 * 1.05) / 6250;
  t.ok(one > sendingMs && one < sendingMs + 60_000, `${one}`);
  t.ok(estimateSessionMs([run, run]) < 2 * one, "the second one finds the guest booted");
  t.ok(estimateSessionMs([{ ...run, age: "fresh" }]) < one / 2);
  t.ok(estimateSessionMs([{ ...run, workload: "redis" }]) > one);
  const back = { ...run, method: "bfmig-return", awayMs: 100_000 } as const;
  t.ok(estimateSessionMs([back]) > 100_000 + estimateSessionMs([{ ...run, method: "bfmig-first" }]));
});
