import t from "tap";
import type { DirtyCurve } from "../../cli/leg/dirty-curve.ts";
import type { DivergenceEvent, DivergencePolicy } from "../../cli/leg/divergence.ts";
import { DivergenceResponse } from "../../cli/leg/divergence-response.ts";
import { dataBudgetMs } from "../../cli/leg/switchover.ts";
import type { Throttle } from "../../cli/qemu/migration-info.ts";
import type { OutgoingMigration } from "../../cli/qemu/outgoing-migration.ts";
import type { DeliveryRate } from "../../cli/wan/delivery-rate.ts";

const rttMs = 40;
const downtimeLimitMs = 300;

function response(onDivergence: DivergencePolicy) {
  const told: DivergenceEvent[] = [];
  const rate = { bytesPerSecond: 5e6, minRttMs: rttMs } as DeliveryRate;
  const tested = new DivergenceResponse({
    ...{ vm: "web1", rate, downtimeLimitMs, bitsPerSecond: null, onDivergence },
    diverged: (event) => told.push(event),
  });
  /** Passes that each find so many bytes, which encode to half of that. */
  const passes = (count: number, foundBytes: number) => {
    for (let i = 0; i < count; i++) {
      tested.ramPass({ passes: [{ foundBytes, elapsedMs: 800 }] } as unknown as DirtyCurve, 0.5);
    }
  };
  return { tested, told, passes };
}

function outgoing() {
  const throttles: Throttle[] = [];
  const throttle = async (one: Throttle) => {
    throttles.push(one);
  };
  return { migration: { throttle } as unknown as OutgoingMigration, throttles };
}

t.test("waiting: it is told once, and nothing else is done", async (t) => {
  const { tested, told, passes } = response("wait");
  const { migration, throttles } = outgoing();
  passes(3, 8e6);
  await tested.judge(migration);
  t.strictSame(told, [], "not after a few passes");
  passes(1, 8e6);
  await tested.judge(migration);
  passes(3, 8e6);
  await tested.judge(migration);
  t.equal(told.length, 1);
  t.match(told[0], { vm: "web1", what: "memory", policy: "wait", dirtyBytesPerSecond: 5e6 });
  t.strictSame(throttles, []);
});

t.test("stopping: the leg is given up with the numbers", async (t) => {
  const { tested, told, passes } = response("stop");
  passes(4, 8e6);
  await t.rejects(tested.judge(outgoing().migration), {
    reason: "aborted",
    message: /^Migration aborted, the VM stays at the source: web1 changes its memory .* 5\.0 MB\/s changed/,
  });
  t.equal(told.length, 1, "and told, for those who listen");
});

t.test("throttling: QEMU is told once in each migration", async (t) => {
  const { tested, told, passes } = response("throttle");
  const [first, second] = [outgoing(), outgoing()];
  passes(4, 8e6);
  await tested.judge(first.migration);
  await tested.judge(first.migration);
  t.equal(first.throttles.length, 1);
  t.ok((first.throttles[0]?.initialPercent ?? 0) >= 20 && first.throttles[0]?.maxPercent === 99);
  await tested.judge(second.migration);
  t.equal(second.throttles.length, 1, "the next one begins with a guest at full speed");
  t.equal(told.length, 1);
});

t.test(
  "a guest that only misses the stricter goal may use the whole limit, and nothing is told",
  async (t) => {
    const { tested, told, passes } = response("stop");
    t.equal(tested.budgetMs, dataBudgetMs(downtimeLimitMs, rttMs));
    // 1.2 MB take 240 ms and the device state 7: more than 300 ms less the handover, less than 300 ms.
    passes(4, 2.4e6);
    await tested.judge(outgoing().migration);
    t.strictSame(told, []);
    t.equal(tested.budgetMs, downtimeLimitMs);
  },
);

t.test("disks that are written as fast as they are sent are told as such", async (t) => {
  const { tested, told } = response("wait");
  for (let round = 0; round < 5; round++) tested.diskRound(10e6, 1000 + round * 2000);
  await tested.judge(outgoing().migration);
  t.match(told, [{ what: "disks", dirtyBytesPerSecond: 5e6 }]);
});

t.test("after a lost link the judgement begins anew", async (t) => {
  const { tested, told, passes } = response("wait");
  passes(3, 8e6);
  tested.forget();
  passes(3, 8e6);
  await tested.judge(outgoing().migration);
  t.strictSame(told, []);
});
