import t from "tap";
import { applyCalibration, calibrate, studentQuantile } from "../../src/predict/calibration.ts";

const outcomes = (count: number, ratio: number) =>
  Array.from({ length: count }, (_, i) => ({ predicted: i + 1, measured: (i + 1) * ratio }));

t.test("quantiles of Student's t are those of the tables", async (t) => {
  const table: [number, number][] = [
    [3, 1.638],
    [4, 1.533],
    [5, 1.476],
    [10, 1.372],
    [30, 1.31],
    [120, 1.289],
  ];
  for (const [freedom, quantile] of table)
    t.ok(Math.abs(studentQuantile(freedom) - quantile) < 0.002, `${freedom}: ${studentQuantile(freedom)}`);
});

t.test("without a history a prediction is good for about a factor of two and a half", async (t) => {
  const { bias, low, high } = calibrate([]);
  t.equal(bias, 1);
  // 1.6377 · ln 1.5 · √2 = 0.9391
  t.ok(Math.abs(high - Math.exp(0.9391)) < 0.002 && Math.abs(low * high - 1) < 1e-12);
});

t.test("a history that fits narrows the interval, step by step", async (t) => {
  const widths = [0, 1, 2, 5, 20, 100].map((count) => {
    const { low, high } = calibrate(outcomes(count, 1));
    return high / low;
  });
  t.same(
    [...widths].sort((a, b) => b - a),
    widths,
  );
  t.ok(Number(widths.at(-1)) < 1.25, `${widths.at(-1)}`);
});

t.test("a steady error becomes a bias; a scattered one stays an interval", async (t) => {
  const steady = calibrate(outcomes(50, 1.3));
  t.ok(Math.abs(steady.bias - 1.3) < 0.01 && steady.high / steady.low < 1.5);
  const scattered = calibrate([...outcomes(25, 0.5), ...outcomes(25, 2)]);
  t.ok(Math.abs(scattered.bias - 1) < 1e-9 && scattered.high / scattered.low > 4);
});

t.test("outcomes that say nothing are left out", async (t) => {
  const nothing = [
    { predicted: 0, measured: 5 },
    { predicted: 5, measured: 0 },
    { predicted: Number.POSITIVE_INFINITY, measured: 5 },
    { predicted: Number.NaN, measured: 5 },
  ];
  t.same(calibrate(nothing), calibrate([]));
});

t.test("an estimate has its value between its bounds", async (t) => {
  const { value, low, high } = applyCalibration(10, calibrate(outcomes(3, 1.1)));
  t.ok(low < value && value < high && value > 10);
  t.same(applyCalibration(0, calibrate([])), { value: 0, low: 0, high: 0 });
  t.equal(applyCalibration(Number.POSITIVE_INFINITY, calibrate([])).low, Number.POSITIVE_INFINITY);
  t.throws(() => applyCalibration(Number.NaN, calibrate([])), /value NaN/);
});
