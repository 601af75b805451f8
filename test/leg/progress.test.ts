import { performance } from "node:perf_hooks";
import { mock } from "node:test";
import t, { type Test } from "tap";
import { LegProgress, type ProgressEvent } from "../../cli/leg/progress.ts";
import type { MigrationRam } from "../../cli/qemu/migration-info.ts";
import type { ChangeEncoder } from "../../src/delta/change-encoder.ts";

const memoryBytes = 1000;
const link = {
  wireBytes: 10,
  bytesPerSecond: 2.4,
  expectedDowntimeMs: 7.6,
  throttlePercent: 0,
  remainingDiskBytes: 0,
  diskBulkShare: null,
};

function ram(dirtySyncCount: number, remainingBytes: number): MigrationRam {
  return {
    remainingBytes,
    dirtySyncCount,
    transferredBytes: 0,
    totalBytes: memoryBytes,
    pageSizeBytes: 4096,
    dirtyPagesPerSecond: 0,
    mbps: 0,
    zeroPages: 0,
    normalPages: 0,
    sentBytes: 0,
  };
}

const encoderAt = (changedBytes: number, frameBytes: number) =>
  ({ changedBytes, frameBytes }) as unknown as ChangeEncoder;

/** Progress under a clock that only the test moves. */
function progress(t: Test) {
  const clock = { now: 5000 };
  const read = mock.method(performance, "now", () => clock.now);
  t.teardown(() => read.mock.restore());
  const events: ProgressEvent[] = [];
  return { clock, events, leg: new LegProgress("web1", memoryBytes, (event) => events.push(event)) };
}

t.test("the first pass is measured by all of the memory, and its end is told ahead", async (t) => {
  const { clock, events, leg } = progress(t);
  leg.report(ram(1, memoryBytes), encoderAt(0, 0), link);
  clock.now += 1000;
  leg.report(ram(1, 750), encoderAt(0, 0), link);
  t.match(events, [
    { event: "progress", vm: "web1", phase: "first-pass", done: 0, round: 1, elapsedMs: 0, etaMs: null },
    {
      phase: "first-pass",
      done: 0.25,
      elapsedMs: 1000,
      etaMs: 3000,
      remainingRamBytes: 750,
      remainingDiskBytes: 0,
      wireBytes: 10,
      bytesPerSecond: 2,
      expectedDowntimeMs: 8,
    },
  ]);
});

t.test("a round is measured by what remained when it began", async (t) => {
  const { clock, events, leg } = progress(t);
  for (const [pass, remaining] of [
    [2, 400],
    [2, 100],
    [3, 50],
    [3, 80],
    [4, 0],
  ]) {
    clock.now += 1000;
    leg.report(ram(pass, remaining), encoderAt(0, 0), link);
  }
  t.match(events, [
    { phase: "rounds", round: 2, done: 0, etaMs: null },
    { round: 2, done: 0.75 },
    { round: 3, done: 0 },
    { round: 3, done: 0 },
    { round: 4, done: 1 },
  ]);
});

t.test("before QEMU has begun it is the first pass, and nothing is done", async (t) => {
  const { events, leg } = progress(t);
  leg.report(ram(0, memoryBytes), encoderAt(0, 0), { ...link, bytesPerSecond: null });
  t.match(events, [{ phase: "first-pass", round: 1, done: 0, bytesPerSecond: 0 }]);
});

t.test(
  "reports that follow each other closely are left out, but a round's begin is not forgotten",
  async (t) => {
    const { clock, events, leg } = progress(t);
    leg.report(ram(1, 900), encoderAt(0, 0), link);
    clock.now += 50;
    leg.report(ram(2, 400), encoderAt(0, 0), link);
    clock.now += 500;
    leg.report(ram(2, 300), encoderAt(0, 0), link);
    t.equal(events.length, 2);
    t.match(events[1], { round: 2, done: 0.25 });
  },
);

t.test("the end is told with the last figures, and not before there were any", async (t) => {
  const { events, leg } = progress(t);
  leg.finishing();
  t.strictSame(events, []);
  leg.report(ram(3, 100), encoderAt(0, 0), link);
  leg.finishing();
  t.match(events[1], {
    phase: "switchover",
    done: 1,
    round: 3,
    remainingRamBytes: 0,
    etaMs: null,
    wireBytes: 10,
  });
});

t.test(
  "the share that encoding leaves is cautious before anything changed, then what was seen",
  async (t) => {
    const { leg } = progress(t);
    t.equal(leg.encodedShare(encoderAt(0, 0)), 1);
    t.equal(leg.encodedShare(encoderAt(0, 500)), 1, "frames of pages that did not change say nothing");
    t.equal(leg.encodedShare(encoderAt(4096, 1024)), 0.25);
    t.equal(leg.encodedShare(encoderAt(8192, 1024)), 0.125);
  },
);

t.test("the first round of the disks is a phase of its own, and what is left of them is told", async (t) => {
  const { clock, events, leg } = progress(t);
  const bulk = { ...link, remainingDiskBytes: 4096, diskBulkShare: 0.25 };
  leg.report(ram(1, memoryBytes), encoderAt(0, 0), bulk);
  clock.now += 1000;
  leg.report(ram(2, 100), encoderAt(0, 0), bulk);
  clock.now += 1000;
  leg.report(ram(2, 100), encoderAt(0, 0), { ...bulk, diskBulkShare: null });
  t.match(events, [
    { phase: "disks", remainingDiskBytes: 4096 },
    { phase: "disks", round: 2 },
    { phase: "rounds", remainingDiskBytes: 4096 },
  ]);
});

t.test(
  "the share of disks is cautious before anything changed, and never more than the blocks",
  async (t) => {
    const { leg } = progress(t);
    t.equal(leg.diskShare({ changedBytes: 0, frameBytes: 0 }), 1);
    t.equal(leg.diskShare({ changedBytes: 8192, frameBytes: 2048 }), 0.25);
    t.equal(leg.diskShare({ changedBytes: 4096, frameBytes: 5000 }), 1);
  },
);

t.test("what was read before the leg counts as its first pass while it is sent", async (t) => {
  const { clock, events, leg } = progress(t);
  leg.replaying(0, { wireBytes: 10, bytesPerSecond: null });
  clock.now += 100;
  leg.replaying(0.2, { wireBytes: 10, bytesPerSecond: 2.4 });
  clock.now += 900;
  leg.replaying(0.25, { wireBytes: 20, bytesPerSecond: 2.4 });
  t.match(events, [
    { event: "progress", phase: "first-pass", done: 0, round: 1, bytesPerSecond: 0, etaMs: null },
    { done: 0.25, wireBytes: 20, bytesPerSecond: 2, elapsedMs: 1000, etaMs: 3000 },
  ]);
  t.equal(events.length, 2, "not more often than others");
});
