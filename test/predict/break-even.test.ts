import t from "tap";
import { breakEvenShare, restartSeconds } from "../../src/predict/break-even.ts";
import { type LegModel, predictLeg } from "../../src/predict/leg.ts";
import { plainLink } from "../../src/predict/link.ts";
import { quietLoad } from "../../src/predict/load.ts";

const leg: LegModel = {
  link: { ...plainLink, bytesPerSecond: 10e6, efficiency: 1, rttSeconds: 0.1, initialBytes: 1e9 },
  load: quietLoad(1e9),
  speeds: {
    compareBytesPerSecond: 1e9,
    encodeBytesPerSecond: 1e9,
    readBytesPerSecond: 100e6,
    writeBytesPerSecond: 1e9,
    fixedSeconds: 0.5,
    activateSeconds: 0,
    roundSeconds: 0,
  },
  downtimeLimitSeconds: 0.3,
  messages: { bytes: 0, share: 0 },
};

t.test("the share from which on a leg is slower than another way", async (t) => {
  // F + 1.5 τ + 1.5 τ = 0.8 s, and 100 s for all pages: 50.8 s are half of them.
  t.ok(Math.abs(breakEvenShare(leg, 50.8) - 0.5) < 1e-5);
  const share = breakEvenShare(leg, 10);
  t.ok(predictLeg({ ...leg, load: { ...leg.load, changedPageShare: share } }).totalSeconds < 10);
  t.ok(predictLeg({ ...leg, load: { ...leg.load, changedPageShare: share + 1e-5 } }).totalSeconds >= 10);
});

t.test("never, and always", async (t) => {
  t.equal(breakEvenShare(leg, 0.5), 0);
  t.equal(breakEvenShare(leg, 1000), 1);
  t.equal(breakEvenShare(leg, Number.POSITIVE_INFINITY), 1);
  t.throws(() => breakEvenShare(leg, Number.NaN), /time in seconds NaN/);
});

t.test("a restart takes its fixed cost, and the working set is read as it is touched", async (t) => {
  const load = { ...leg.load, workingSetBytes: 50e6 };
  t.same(restartSeconds({ ...leg, load }), { untilItRuns: 0.5, untilItIsWarm: 1 });
  t.same(restartSeconds(leg), { untilItRuns: 0.5, untilItIsWarm: 0.5 }, "whatever the memory's size");
});
