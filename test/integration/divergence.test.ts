import t from "tap";
import type { ControlLine } from "../../cli/control-client.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import type { DivergenceEvent } from "../../cli/leg/divergence.ts";
import type { ProgressEvent } from "../../cli/leg/progress.ts";
import { handoverMs } from "../../cli/leg/switchover.ts";
import { differences } from "./memory.ts";
import { type LegOptions, Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const downtimeLimitMs = 300;
const rttMs = 20;

/** 4 MiB that are all written anew in the 0.8 s that the link needs for them. */
const fast = {
  fillBytes: 8 * MIB,
  workingSetBytes: 4 * MIB,
  dirtyPagesPerSecond: 4000,
  rateBitsPerSecond: 40e6,
  rttMs,
};

/** Collects what a leg says of itself. */
function listener(onLine: (line: ControlLine) => void = () => {}) {
  const divergences: DivergenceEvent[] = [];
  const progress: ProgressEvent[] = [];
  const options: LegOptions = {
    downtimeLimitMs,
    onLine: (line) => {
      if (line.event === "divergence") divergences.push(line as unknown as DivergenceEvent);
      if (line.event === "progress") progress.push(line as unknown as ProgressEvent);
      onLine(line);
    },
  };
  return { divergences, progress, options };
}

for (const megabits of [40, 60]) {
  t.test(`a small working set that is written all the time converges over ${megabits} Mbit/s`, async (t) => {
    const rig = await Rig.boot(t, {
      workingSetBytes: MIB,
      dirtyPagesPerSecond: 2000,
      rateBitsPerSecond: megabits * 1e6,
      rttMs,
    });
    const { divergences, progress, options } = listener();
    const { done, source, destination } = await rig.comparedLeg("a", "b", options);
    t.equal(done.leg, "first");
    t.equal(differences(source, destination), "", "no page differs");
    // A machine that is too busy to carry the link's rate may be told so meanwhile, rightly.
    const wrong = divergences.filter(
      ({ linkBytesPerSecond }) => linkBytesPerSecond > 0.8 * megabits * 125_000,
    );
    t.strictSame(wrong, [], "nothing to tell");
    const stopped = progress.findLast(({ phase }) => phase === "rounds");
    const expected = stopped?.expectedDowntimeMs ?? Number.NaN;
    t.ok(
      expected <= downtimeLimitMs + handoverMs(rttMs) + 300,
      `${expected} ms were expected shortly before the stop`,
    );
  });
}

t.test(
  "a guest that diverges: told with numbers, stopped, and the limit that was advised is enough",
  async (t) => {
    const rig = await Rig.boot(t, fast);
    const stopping = listener();
    const { error } = await rig.begin("a", "b", { ...stopping.options, onDivergence: "stop" });
    t.equal(error?.reason, "aborted", "the leg is given up");
    t.match(
      error?.message,
      /stays at the source: demo changes its memory .* MB\/s changed, .* --downtime-limit \d+/,
    );
    t.ok(await rig.runsAt("a"), "the VM goes on");
    await rig.untilAlive("a");
    t.equal(stopping.divergences.length, 1);
    const [told] = stopping.divergences as [DivergenceEvent];
    t.match(told, { vm: guestName, what: "memory", downtimeLimitMs, policy: "stop" });
    t.ok(told.linkBytesPerSecond > 1e6 && told.linkBytesPerSecond < 5.5e6, `${told.linkBytesPerSecond}`);
    t.ok(told.dirtyBytesPerSecond > 0.7 * told.linkBytesPerSecond, `${told.dirtyBytesPerSecond}`);
    t.ok(
      told.neededDowntimeLimitMs > 600 && told.neededDowntimeLimitMs < 10_000,
      `${told.neededDowntimeLimitMs}`,
    );
    t.ok(told.neededBitsPerSecond > 8 * told.linkBytesPerSecond, `${told.neededBitsPerSecond}`);
    // The peer tidies up after it has heard of the end.
    await waitFor("nothing is left of the leg", async () => {
      const left = (await rig.generationFolders("a")).concat(await rig.generationFolders("b"));
      return left.length === 0 ? true : null;
    });

    const advised = listener();
    const limit = { downtimeLimitMs: told.neededDowntimeLimitMs };
    const { source, destination } = await rig.comparedLeg("a", "b", { ...advised.options, ...limit });
    t.equal(differences(source, destination), "", "no page differs");
    t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  },
);

t.test("a guest that diverges: waiting goes on until somebody ends it, and tells it once", async (t) => {
  const rig = await Rig.boot(t, fast);
  const ending = new AbortController();
  let roundsAfter = 0;
  const waiting = listener((line) => {
    if (waiting.divergences.length === 0 || line.event !== "progress") return;
    roundsAfter = Math.max(roundsAfter, (line["round"] as number) - (waiting.progress.at(0)?.round ?? 0));
    if (roundsAfter > 10) ending.abort();
  });
  const { error } = await rig.begin("a", "b", { ...waiting.options, signal: ending.signal });
  t.ok(ending.signal.aborted, "it went on for rounds");
  t.ok(error !== null);
  t.equal(waiting.divergences.length, 1, "told once");
  t.ok(
    waiting.progress.every(({ throttlePercent }) => throttlePercent === 0),
    "the guest was let alone",
  );
  await rig.idle("a");
  await rig.untilAlive("a");
});

t.test("a guest that diverges is slowed down until it converges, and runs at full speed there", async (t) => {
  const rig = await Rig.boot(t, fast);
  const throttling = listener();
  const leg = { ...throttling.options, onDivergence: "throttle" as const };
  const { source, destination } = await rig.comparedLeg("a", "b", leg);
  t.equal(differences(source, destination), "", "no page differs");
  t.equal(throttling.divergences.length, 1);
  t.equal(throttling.divergences[0]?.policy, "throttle");
  const percents = throttling.progress.map(({ throttlePercent }) => throttlePercent);
  t.ok(Math.max(...percents) >= 30, `slowed down by ${Math.max(...percents)} %`);
  const told = throttling.progress.findIndex(({ round }) => round >= 4);
  t.ok(Math.max(0, ...percents.slice(0, told)) <= 1, "not before it was known to diverge");
  await rig.untilAlive("b");
  const monitor = await rig.monitor("b");
  const there = await monitor.execute<Record<string, unknown>>("query-migrate");
  t.equal(there["cpu-throttle-percentage"], undefined);
});

t.test("a leg that throttles and is cancelled leaves the guest at full speed", async (t) => {
  const rig = await Rig.boot(t, fast);
  const ending = new AbortController();
  const throttling = listener((line) => {
    if (line.event === "progress" && (line["throttlePercent"] as number) >= 30) ending.abort();
  });
  const leg = {
    ...throttling.options,
    onDivergence: "throttle" as const,
    downtimeLimitMs: 20,
    signal: ending.signal,
  };
  const { error } = await rig.begin("a", "b", leg);
  t.ok(error !== null && ending.signal.aborted);
  await rig.idle("a");
  await rig.untilAlive("a");
  const here = await (await rig.monitor("a")).execute<Record<string, unknown>>("query-migrate");
  t.equal(here["cpu-throttle-percentage"], undefined, "QEMU slows nothing down any more");
  const monitor = await rig.monitor("a");
  const parameters = await monitor.execute<Record<string, unknown>>("query-migrate-parameters");
  t.equal(typeof parameters["max-cpu-throttle"], "number");
});
