import t from "tap";
import { linearScale } from "../../../../cli/experiments/report/plots/linear-scale.ts";

t.test("a scale begins at 0 and ends at or above the most", async (t) => {
  t.strictSame(linearScale(0.5, 6), {
    from: 0,
    to: 0.5,
    ticks: [0, 0.1, 0.2, 0.30000000000000004, 0.4, 0.5],
  });
  t.match(linearScale(31, 6), { to: 40, ticks: [0, 10, 20, 30, 40] });
  t.match(linearScale(7, 6), { to: 8, ticks: [0, 2, 4, 6, 8] });
  t.throws(() => linearScale(0, 6), RangeError);
  t.throws(() => linearScale(Number.NaN, 6), RangeError);
});
