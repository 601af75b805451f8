import t from "tap";
import { historyErrors } from "../../cli/predict/history-errors.ts";
import { legOf } from "./leg-records.ts";

const range = (value: number) => ({ value, low: value / 2, high: value * 2 });
const predicted = (ms: number, bytes: number) => ({
  totalMs: range(ms),
  downtimeMs: range(100),
  wireBytes: range(bytes),
});

t.test("errors are shares of what was measured", async (t) => {
  const legs = [900, 1100, 2500].map((ms) => legOf({ predicted: predicted(ms, 5_065_000) }));
  const found = historyErrors(legs);
  t.match(found.legs, [
    { timeError: 0.1, isWithin: true },
    { timeError: 0.1 },
    { timeError: 1.5, isWithin: false },
  ]);
  t.same(found.time, { legs: 3, p50: 0.1, p90: 1.5 });
  t.same(found.wireBytes, { legs: 3, p50: 0, p90: 0 });
});

t.test("legs that were not predicted, or not expected to end, have no error", async (t) => {
  const unending = { totalMs: null, downtimeMs: range(100), wireBytes: null };
  const found = historyErrors([legOf(), legOf({ predicted: unending })]);
  t.match(found.legs, [
    { predictedMs: null, timeError: null, isWithin: null },
    { predictedMs: null, wireError: null, isWithin: null },
  ]);
  t.same(found.time, { legs: 0, p50: null, p90: null });
  t.same(historyErrors([]).wireBytes, { legs: 0, p50: null, p90: null });
});
