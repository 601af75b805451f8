import t from "tap";
import type { ExperimentRecord } from "../../../cli/experiments/record.ts";
import { ageingSeries } from "../../../cli/experiments/report/ageing-series.ts";
import { groupRuns } from "../../../cli/experiments/report/groups.ts";
import { syntheticRecord } from "./synthetic-records.ts";

const back = (seconds: number, changedShare: number | null, changes: Partial<ExperimentRecord> = {}) =>
  syntheticRecord({ method: "bfmig-return", awayMs: 1000 * seconds, changedShare, ...changes });
const curve = (seconds: number) => 0.5 * (1 - Math.exp(-seconds / 100));

t.test("a curve is fitted to all links together where there are three ages", async (t) => {
  const slow = { bitsPerSecond: 50e6, rttMs: 200 };
  const ages = [30, 100, 400, 1200];
  const records = ages.flatMap((age) => [back(age, curve(age)), back(age, curve(age), { link: slow })]);
  const [series, ...others] = ageingSeries(groupRuns(records));
  t.strictSame(others, []);
  t.strictSame(
    series?.ages.map(({ awayMs, changedShare }) => [awayMs / 1000, changedShare.n]),
    ages.map((age) => [age, 2]),
  );
  t.ok(Math.abs((series?.fit?.limit ?? 0) - 0.5) < 0.01, `limit ${series?.fit?.limit}`);
  t.ok(Math.abs((series?.fit?.seconds ?? 0) - 100) < 4, `time ${series?.fit?.seconds}`);
});

t.test("two ages give no curve, whatever their jitter", async (t) => {
  const [series] = ageingSeries(groupRuns([back(30, 0.1), back(30.5, 0.11, { repeat: 2 }), back(100, 0.2)]));
  t.equal(series?.ages.length, 2);
  t.equal(series?.fit, null);
});

t.test("guests are told apart, and what is not known or did not converge is left out", async (t) => {
  const series = ageingSeries(
    groupRuns([
      back(30, 0.1),
      back(30, 0.9, { converged: false, repeat: 2 }),
      back(60, null),
      back(30, 0.3, { age: "fresh" }),
      syntheticRecord(),
    ]),
  );
  t.strictSame(
    series.map(({ guest, ages }) => [guest.age, ages.map(({ changedShare }) => changedShare.median)]),
    [
      ["fresh", [0.3]],
      ["aged", [0.1]],
    ],
  );
});
