import t from "tap";
import { errorsOf, outcomes } from "../../../cli/experiments/report/prediction-error.ts";
import { syntheticRecord } from "./synthetic-records.ts";

const leg = (value: number, measured: number, converged = true) =>
  syntheticRecord({
    method: "bfmig-first",
    totalMs: measured,
    converged,
    predicted: {
      totalMs: { value, low: value - 10, high: value + 10 },
      downtimeMs: { value: 0, low: 0, high: 0 },
      wireBytes: { value: 1, low: 1, high: 1 },
    },
  });

t.test("errors of legs are summarised without their sign, the worst one with it", async (t) => {
  const legs = outcomes(
    [leg(110, 100), leg(95, 100), leg(60, 100), leg(400, 100, false), syntheticRecord()],
    "totalMs",
  );
  t.equal(legs.length, 3, "neither what did not converge nor what was not predicted");
  const errors = errorsOf(legs);
  t.match(errors, { legs: 3, median: 0.1, worst: -0.4, withinWanted: 2 / 3, withinInterval: 2 / 3 });
  t.ok(Math.abs((errors?.p90 ?? 0) - 0.34) < 1e-12, "0.1 + 0.8 · (0.4 − 0.1)");
  t.match(errors, { predicted: { median: 95 }, measured: { median: 100 } });
});

t.test("without a leg that can be compared there are no errors", async (t) => {
  t.equal(errorsOf([]), null);
  t.equal(errorsOf(outcomes([leg(5, 0)], "totalMs")), null, "nothing is divided by 0");
});
