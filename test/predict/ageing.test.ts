import t from "tap";
import { changedShareAt, fitAgeing } from "../../src/predict/ageing.ts";

const hour = 3600;
const curve = { limit: 0.4, seconds: 6 * hour };

t.test("the curve begins at zero and ends at its limit", async (t) => {
  t.equal(changedShareAt(curve, 0), 0);
  t.ok(Math.abs(changedShareAt(curve, 6 * hour) - 0.4 * (1 - 1 / Math.E)) < 1e-12);
  t.ok(Math.abs(changedShareAt(curve, 1e9) - 0.4) < 1e-12);
  t.throws(() => changedShareAt(curve, -1), /age in seconds -1/);
});

t.test("a fit finds the curve that the samples were taken from", async (t) => {
  const samples = [0.5, 1, 2, 6, 12, 24].map((hours) => ({
    seconds: hours * hour,
    changedShare: changedShareAt(curve, hours * hour),
  }));
  const fit = fitAgeing(samples);
  t.ok(fit && Math.abs(fit.limit / 0.4 - 1) < 0.02, `limit ${fit?.limit}`);
  t.ok(fit && Math.abs(fit.seconds / (6 * hour) - 1) < 0.04, `time ${fit?.seconds}`);
  t.ok(fit && fit.residual < 1e-3 && fit.samples === 6);
});

t.test("ages that say nothing of the bend give a line through them, not more than all pages", async (t) => {
  const fit = fitAgeing([
    { seconds: 100, changedShare: 0.01 },
    { seconds: 200, changedShare: 0.02 },
  ]);
  t.ok(fit && Math.abs(changedShareAt(fit, 150) - 0.015) < 1e-4);
  t.ok(fit && fit.limit <= 1);
  const full = fitAgeing([
    { seconds: 1, changedShare: 1 },
    { seconds: 2, changedShare: 1 },
  ]);
  t.equal(full?.limit, 1);
});

t.test("an old VM that never changes", async (t) => {
  const fit = fitAgeing([
    { seconds: 60, changedShare: 0 },
    { seconds: 6000, changedShare: 0 },
  ]);
  t.match(fit, { limit: 0, residual: 0 });
});

t.test("too little, and nonsense", async (t) => {
  t.equal(fitAgeing([]), null);
  t.equal(fitAgeing([{ seconds: 5, changedShare: 0.1 }]), null);
  const same = { seconds: 5, changedShare: 0.1 };
  t.equal(fitAgeing([same, same, { seconds: 0, changedShare: 0 }]), null, "one age and the beginning");
  t.throws(() => fitAgeing([same, { seconds: 6, changedShare: 1.2 }]), /changed share 1.2/);
  t.throws(() => fitAgeing([same, { seconds: Number.NaN, changedShare: 0.2 }]), /age in seconds NaN/);
});
