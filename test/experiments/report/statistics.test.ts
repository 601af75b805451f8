import t from "tap";
import { quantile, relativeError, summarise } from "../../../cli/experiments/report/statistics.ts";

t.test("figures are summarised, in whatever order they come", async (t) => {
  t.strictSame(summarise([40, 10, 30, 20]), {
    n: 4,
    median: 25,
    least: 10,
    most: 40,
    lowerQuartile: 17.5,
    upperQuartile: 32.5,
  });
  t.match(summarise([9, 1, 5]), { median: 5, lowerQuartile: 3, upperQuartile: 7 });
  t.strictSame(summarise([7]), { n: 1, median: 7, least: 7, most: 7, lowerQuartile: 7, upperQuartile: 7 });
  t.equal(summarise([]), null);
  const given = [3, 1, 2];
  summarise(given);
  t.strictSame(given, [3, 1, 2], "what was given stays as it was");
  t.match(summarise([100, 9, 20]), { least: 9, median: 20, most: 100 }, "by value, not as text");
});

t.test("quantiles lie on straight lines between neighbours", async (t) => {
  const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  t.ok(Math.abs(quantile(ten, 0.9) - 9.1) < 1e-12);
  t.equal(quantile(ten, 0), 1);
  t.equal(quantile(ten, 1), 10);
  t.throws(() => quantile([], 0.5), RangeError);
});

t.test("an error is relative to what was measured", async (t) => {
  t.equal(relativeError(115, 100), 0.15);
  t.equal(relativeError(50, 100), -0.5);
  t.equal(relativeError(1, 0), null);
  t.equal(relativeError(0, 0), null);
  t.equal(relativeError(1, 5e-324), null, "no error is infinite");
});
