import fc from "fast-check";
import t from "tap";
import { logScale } from "../../../../cli/experiments/report/plots/log-scale.ts";

const values = (ticks: readonly number[]) => ticks.map((tick) => Number((10 ** tick).toPrecision(6)));

t.test("few decades have ticks at 1, 2 and 5, many only some", async (t) => {
  t.strictSame(values(logScale([3, 40], 6).ticks), [2, 5, 10, 20, 50]);
  t.strictSame(values(logScale([3, 400], 6).ticks), [3, 10, 30, 100, 300, 1000]);
  t.strictSame(values(logScale([3, 40_000], 6).ticks), [1, 10, 100, 1000, 10_000, 100_000]);
  t.strictSame(values(logScale([1, 1e9], 6).ticks), [1, 100, 1e4, 1e6, 1e8, 1e10]);
  t.strictSame(values(logScale([10], 6).ticks), [10, 20], "one value has an axis too");
  t.throws(() => logScale([0, -1], 6), RangeError);
});

t.test("the ticks are few, rise, and have all values between them", async () => {
  const value = fc.double({ min: 1e-6, max: 1e15, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 3, max: 8 }),
      (all, maxTicks) => {
        const { from, to, ticks } = logScale(all, maxTicks);
        const logs = all.map(Math.log10);
        const holds = logs.every((log) => log >= from - 1e-6 && log <= to + 1e-6);
        const rises = ticks.every((tick, i) => i === 0 || tick > (ticks[i - 1] ?? 0));
        return (
          holds &&
          rises &&
          ticks.length >= 2 &&
          ticks.length <= maxTicks &&
          ticks[0] === from &&
          ticks.at(-1) === to
        );
      },
    ),
  );
});
