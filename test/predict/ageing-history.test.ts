import t from "tap";
import { ageingOf, returnAfter } from "../../cli/predict/ageing-history.ts";
import { plainLink, quietLoad } from "../../src/predict/index.ts";
import { legOf } from "./leg-records.ts";

const model = {
  link: { ...plainLink, efficiency: 1, bytesPerSecond: 10e6, rttSeconds: 0, initialBytes: 1e6 },
  load: quietLoad(100e6),
  speeds: {
    compareBytesPerSecond: 1e9,
    encodeBytesPerSecond: 1e9,
    readBytesPerSecond: 1e9,
    writeBytesPerSecond: 1e9,
    fixedSeconds: 1,
    activateSeconds: 0,
    roundSeconds: 0,
  },
  downtimeLimitSeconds: 0.3,
  messages: { bytes: 0, share: 0 },
};
const aged = (seconds: number, share: number) =>
  legOf({
    ageSeconds: seconds,
    filledBytes: 100e6,
    changedBytes: share * 100e6,
    pageWireBytes: share * 50e6,
  });

t.test("the curve comes from return legs of different ages", async (t) => {
  t.equal(ageingOf([]), null);
  t.equal(ageingOf([aged(60, 0.1), aged(60, 0.2)]), null, "one age");
  t.equal(ageingOf([aged(60, 0.1), legOf({ kind: "first", ageSeconds: null })]), null);
  const share = (seconds: number) => 0.4 * -Math.expm1(-seconds / 3600);
  const curve = ageingOf([600, 3600, 20_000].map((seconds) => aged(seconds, share(seconds))));
  t.ok(curve && Math.abs(curve.limit - 0.4) < 0.01 && Math.abs(curve.seconds / 3600 - 1) < 0.05);
});

t.test("a return after some time sends what has changed by then, at the usual cost", async (t) => {
  const curve = { limit: 0.4, seconds: 3600, residual: 0, samples: 3 };
  const legs = [aged(600, 0.1)];
  // 0.4 · (1 − 1/e) · 100 MB · 0.5 / 10 MB/s + 1 s
  const found = returnAfter(model, curve, legs, 3_600_000);
  t.ok(Math.abs((found.totalMs ?? 0) - 2264) <= 1, String(found.totalMs));
  t.ok(Math.abs((found.wireBytes ?? 0) - 12_642_411) <= 1);
  const long = returnAfter(model, curve, legs, 1e12);
  t.equal(long.totalMs, 3000);
});
