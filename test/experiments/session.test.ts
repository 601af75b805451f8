import t from "tap";
import type { Experiment } from "../../cli/experiments/plan.ts";
import { recorded, usualGiveUpMs } from "../../cli/experiments/session.ts";
import { recordOf } from "./records.ts";

const run: Experiment = {
  workload: "redis",
  dirtyPagesPerSecond: null,
  memoryMiB: 1024,
  age: "aged",
  link: { bitsPerSecond: 50e6, rttMs: 200 },
  method: "xbzrle",
  awayMs: null,
  repeat: 2,
};

t.test("a run is given up after a minute and three times what sending everything takes", async (t) => {
  // 1 GiB at 6.25 MB/s is 171.8 s, 2 GiB twice that.
  t.equal(usualGiveUpMs(run, 0), 575_396);
  t.equal(usualGiveUpMs(run, 2 ** 30), 1_090_792);
  t.equal(usualGiveUpMs({ ...run, link: { bitsPerSecond: 1e9, rttMs: 10 } }, 0), 85_770);
});

t.test("a record says what was run, when, and on how busy a machine", async (t) => {
  const { at, load, ...expected } = recordOf(run);
  const record = await recorded(run, async () => expected);
  t.match(record, expected);
  t.ok(Math.abs(Date.parse(record.at) - Date.now()) < 60_000);
  t.ok(record.load >= 0);
});
