import t from "tap";
import { parseCostTable } from "../../cli/predict/cost-table.ts";
import { endsAs } from "../store/operation-errors.ts";

const table = (...lines: string[]) => parseCostTable(`${lines.join("\n")}\n`, "costs.csv");
const hour = (n: number, offset = "+01:00") => `2026-03-10T${String(n).padStart(2, "0")}:00:00${offset}`;

t.test("slots, sites and costs", async (t) => {
  const { startMs, slotMs, costs } = table(
    "# grams of CO2 a kWh",
    "time, a ,b",
    "",
    `${hour(0)},31.5,12`,
    `${hour(1)},30,-1.25e1`,
    `${hour(2)},30,0`,
  );
  t.equal(new Date(startMs).toISOString(), "2026-03-09T23:00:00.000Z");
  t.equal(slotMs, 3_600_000);
  t.same(
    [...costs],
    [
      ["a", [31.5, 30, 30]],
      ["b", [12, -12.5, 0]],
    ],
  );
});

t.test("summer time begins: offsets say so, and no hour is missing", async (t) => {
  const { slotMs } = table(
    "time,a,b",
    "2026-03-29T01:00:00+01:00,1,1",
    "2026-03-29T03:00:00+02:00,1,1",
    "2026-03-29T04:00:00+02:00,1,1",
  );
  t.equal(slotMs, 3_600_000);
});

t.test("what is wrong is said with its line", async (t) => {
  const bad: [string[], RegExp][] = [
    [[""], /costs.csv: it is empty/],
    [["when,a"], /line 1: the first column must be 'time', not "when"/],
    [["time"], /line 1: a column for each site/],
    [["time,a,a"], /line 1: a site has two columns/],
    [["time,a", `${hour(0)},1`], /at least two times/],
    [["time,a", "2026-03-10T00:00:00,1", `${hour(1)},1`], /line 2: .*is no time with an offset/],
    [["time,a", "2026-13-10T00:00:00Z,1", `${hour(1)},1`], /line 2: there is no time 2026-13/],
    [["time,a", `${hour(0)},1`, `${hour(1)},dear`], /line 3: the cost at a must be a number, not "dear"/],
    [["time,a", `${hour(0)},1`, `${hour(1)},`], /line 3: the cost at a must be a number/],
    [["time,a", `${hour(0)},1`, `${hour(1)},1,2`], /line 3: 2 fields expected, got 3/],
    [
      ["time,a", `${hour(0)},1`, `${hour(1)},1`, `${hour(3)},1`],
      /line 4: 120 minutes after .* have 60: a gap/,
    ],
    [["time,a", `${hour(1)},1`, `${hour(0)},1`], /line 3: its time is not after/],
    [["time,a", `${hour(0)},1`, `${hour(1, "+02:00")},1`], /line 3: its time is not after/],
    [['time,"a', `${hour(0)},1`], /as CSV/],
  ];
  for (const [lines, message] of bad) t.throws(() => table(...lines), { ...endsAs("usage"), message });
});
