import t, { type Test } from "tap";
import { type LegModel, predictLeg } from "../../src/predict/leg.ts";
import { plainLink } from "../../src/predict/link.ts";
import { type HostSpeeds, quietLoad, type VmLoad } from "../../src/predict/load.ts";
import { ModelError } from "../../src/predict/model-error.ts";

/** 10 MB/s of payload, 100 ms. */
const link = { ...plainLink, bytesPerSecond: 10e6, efficiency: 1, rttSeconds: 0.1, initialBytes: 1e9 };
const noMessages = { bytes: 0, share: 0 };
const speeds: HostSpeeds = {
  compareBytesPerSecond: 1e9,
  encodeBytesPerSecond: 500e6,
  readBytesPerSecond: 200e6,
  writeBytesPerSecond: 100e6,
  fixedSeconds: 0.5,
  activateSeconds: 0.05,
  roundSeconds: 0,
};
const quiet = quietLoad(1e9);
const leg = (load: Partial<VmLoad>, rest: Partial<LegModel> = {}): LegModel => ({
  link,
  speeds,
  load: { ...quiet, ...load },
  downtimeLimitSeconds: 0.3,
  messages: noMessages,
  ...rest,
});
const near = (t: Test, found: number, expected: number, what: string) =>
  t.ok(
    Math.abs(found - expected) <= 1e-9 * Math.max(1, Math.abs(expected)),
    `${what}: ${found}, not ${expected}`,
  );

t.test("an idle VM's first leg is its memory over the link", async (t) => {
  const found = predictLeg(leg({ zeroShare: 0.2, pageCost: 0.5, deviceBytes: 100_000 }));
  // 0.8 GB · 0.5 / 10 MB/s = 40 s; device 0.01 s; 1.5 · 0.1 s; activate 0.05 s.
  near(t, found.downtimeSeconds, 0.01 + 0.15 + 0.05, "downtime");
  near(t, found.totalSeconds, 0.5 + 0.15 + 40 + 0.21, "total");
  near(t, found.wireBytes.total, 400_100_000, "bytes");
  t.match(found, { rounds: 2, converges: true, wireBytes: { pages: 400e6, blocks: 0, device: 100_000 } });
});

t.test("a return leg without a change takes what comparing takes", async (t) => {
  const found = predictLeg(leg({ changedPageShare: 0 }));
  near(t, found.totalSeconds, 0.5 + 0.15 + 1 + 0.15 + 0.05, "M / S_h is 1 s");
  t.equal(found.wireBytes.total, 0);
  const standing = { ...speeds, compareBytesPerSecond: Number.POSITIVE_INFINITY };
  near(
    t,
    predictLeg(leg({ changedPageShare: 0 }, { speeds: standing })).totalSeconds,
    0.85,
    "none to compare",
  );
});

t.test("a disk counts with its changed blocks, and its slowest place sets the pace", async (t) => {
  const load = { changedPageShare: 0, diskBytes: 4e9, changedBlockShare: 0.1, blockCost: 0.25 };
  const found = predictLeg(leg(load));
  // 0.4 GB · 0.25 / 10 MB/s = 10 s; writing 0.4 GB at 100 MB/s would take 4 s.
  near(t, found.totalSeconds, 0.5 + 0.15 + 10 + 0.2, "the link is slowest");
  t.equal(found.wireBytes.blocks, 100e6);
  const fast = { ...link, bytesPerSecond: 1e9 };
  near(t, predictLeg(leg(load, { link: fast })).totalSeconds, 0.5 + 0.15 + 4 + 0.2, "the disk is slowest");
});

t.test("each round sends what was written to in the one before", async (t) => {
  const load = { pageCost: 1, dirtyBytesPerSecond: 2e6, workingSetBytes: 200e6, memoryBytes: 400e6 };
  const found = predictLeg(leg(load, { downtimeLimitSeconds: 0.5 }));
  // T_0 = 40 s; V_1 = 200e6 · (1 − e^−0.4) = 65 935 990.8; T_1 = 6.593599 s;
  // V_2 = 200e6 · (1 − e^−0.06593599) = 12 761 842.6; T_2 = 1.276184 s;
  // V_3 = 200e6 · (1 − e^−0.01276184) = 2 536 151.1 ≤ 5e6: the VM stops.
  const v1 = 200e6 * (1 - Math.exp(-0.4));
  const v2 = 200e6 * (1 - Math.exp((-2e6 * (v1 / 10e6)) / 200e6));
  const v3 = 200e6 * (1 - Math.exp((-2e6 * (v2 / 10e6)) / 200e6));
  t.ok(Math.abs(v1 - 65_935_990.8) < 1 && Math.abs(v2 - 12_761_842.6) < 1 && Math.abs(v3 - 2_536_151.1) < 1);
  near(t, found.wireBytes.pages, 400e6 + v1 + v2 + v3, "bytes");
  near(t, found.downtimeSeconds, v3 / 10e6 + 0.15 + 0.05, "downtime");
  near(t, found.totalSeconds, 0.65 + 40 + (v1 + v2) / 10e6 + found.downtimeSeconds, "total");
  t.equal(found.rounds, 4);
});

t.test("a guest that writes as fast as the link carries does not converge", async (t) => {
  const near = (dirtyBytesPerSecond: number) =>
    predictLeg(leg({ dirtyBytesPerSecond, workingSetBytes: 1e9, pageCost: 1 }));
  t.equal(near(5e6).converges, true);
  const stuck = near(12e6);
  t.match(stuck, { converges: false, totalSeconds: Number.POSITIVE_INFINITY });
  t.equal(stuck.wireBytes.total, Number.POSITIVE_INFINITY);
  t.ok(stuck.downtimeSeconds > 0.3 && Number.isFinite(stuck.downtimeSeconds), "of a stop all the same");
  t.equal(near(9.99e6).converges, false, "close to the rate rounds shrink too slowly");
});

t.test("a hot set that fits the limit does not keep a leg from ending", async (t) => {
  const found = predictLeg(leg({ dirtyBytesPerSecond: 1e9, workingSetBytes: 2e6 }));
  t.equal(found.converges, true);
  near(t, found.downtimeSeconds, 0.2 + 0.15 + 0.05, "all of it is sent after the stop");
});

t.test("messages count on the wire, not in what is carried", async (t) => {
  const messages = { bytes: 5000, share: 0.02 };
  const found = predictLeg(leg({ memoryBytes: 1e6, deviceBytes: 50_000 }, { messages }));
  // (1 MB + 50 KB) · 1.02 + 5 KB
  near(t, found.wireBytes.total, 1_076_000, "bytes");
  near(t, found.wireBytes.messages, 26_000, "messages");
  t.throws(() => predictLeg(leg({}, { messages: { bytes: -1, share: 0 } })), /messages in bytes -1/);
});

t.test("no round is shorter than QEMU's look, and rewritten pages have a cost of their own", async (t) => {
  const load = {
    memoryBytes: 10e6,
    workingSetBytes: 10e6,
    dirtyBytesPerSecond: 1e6,
    pageCost: 1,
    dirtyPageCost: 0.1,
  };
  const slow = { ...speeds, roundSeconds: 0.2 };
  const found = predictLeg(leg(load, { speeds: slow, downtimeLimitSeconds: 0.205 }));
  // Budget: max(0.05125, 0.205 − 0.15 − 0.05) = 0.05125 s, 512.5 KB. T_0 = 1 s; V_1 = 1 MB · (1 − e^−0.1) = 95 162.6 bytes.
  near(t, found.wireBytes.pages, 10e6 + 1e6 * (1 - Math.exp(-0.1)), "c_r is a tenth");
  t.equal(found.rounds, 2);
  const quiet = predictLeg(leg({ ...load, changedPageShare: 0 }, { speeds: slow }));
  near(
    t,
    quiet.totalSeconds,
    0.5 + 0.15 + 0.1 + quiet.downtimeSeconds,
    "one round, half of a look on the average",
  );
});

t.test("the handover's own time is taken from what the data may take, but for a quarter", async (t) => {
  const rounds = (limit: number) =>
    predictLeg(
      leg(
        { memoryBytes: 100e6, workingSetBytes: 100e6, dirtyBytesPerSecond: 2e6, deviceBytes: 0 },
        { downtimeLimitSeconds: limit },
      ),
    );
  // T_0 = 10 s; V_1 = 18.13 MB, V_2 = 3.56 MB, V_3 = 0.71 MB, V_4 = 0.142 MB.
  t.equal(rounds(0.6).rounds, 3, "0.6 − 0.15 − 0.05 = 0.4 s: 4 MB");
  t.equal(rounds(0.5).rounds, 4, "0.3 s: 3 MB");
  t.equal(rounds(0.2).rounds, 5, "a quarter, 0.05 s: 500 KB");
});

t.test(
  "limits: all changed is a first leg; the time grows without bound as the way gets longer",
  async (t) => {
    const shares = [0, 0.001, 0.01, 0.1, 0.5, 1].map(
      (changedPageShare) => predictLeg(leg({ changedPageShare })).totalSeconds,
    );
    t.same(
      [...shares].sort((a, b) => a - b),
      shares,
    );
    t.equal(shares.at(-1), predictLeg(leg({})).totalSeconds);
    const far = predictLeg(leg({}, { link: { ...link, rttSeconds: 1e5 } }));
    t.ok(far.totalSeconds > 1e7);
    const empty = predictLeg(leg({ memoryBytes: 0 }));
    near(t, empty.totalSeconds, 0.85, "nothing to move");
  },
);

t.test("what cannot be is refused by name", async (t) => {
  const bad: [Partial<VmLoad>, RegExp][] = [
    [{ memoryBytes: -1 }, /memory in bytes -1/],
    [{ zeroShare: 1.1 }, /zeroShare 1.1: it must be from 0 to 1/],
    [{ changedPageShare: Number.NaN }, /changedPageShare NaN/],
    [{ workingSetBytes: 2e9 }, /working set/],
    [{ dirtyBytesPerSecond: Number.POSITIVE_INFINITY }, /dirtyBytesPerSecond/],
    [{ pageCost: 3 }, /pageCost 3/],
  ];
  for (const [load, message] of bad)
    t.throws(() => predictLeg(leg(load)), { constructor: ModelError, message });
  t.throws(
    () => predictLeg(leg({}, { speeds: { ...speeds, writeBytesPerSecond: 0 } })),
    /writeBytesPerSecond/,
  );
  t.throws(() => predictLeg(leg({}, { downtimeLimitSeconds: -1 })), /downtime limit/);
});
