import t from "tap";
import { summarise } from "../../../cli/experiments/report/statistics.ts";
import {
  awayText,
  guestName,
  linkName,
  memoryText,
  shareText,
  signedShareText,
  spreadTexts,
  wireText,
  workloadName,
} from "../../../cli/experiments/report/words.ts";
import { syntheticRecord } from "./synthetic-records.ts";

t.test("shares never round up to all, and small ones keep their digits", async (t) => {
  const cases: [number, string][] = [
    [1, "100.0 %"],
    [0.99996, "99.99 %"],
    [0.99, "99.00 %"],
    [0.98765, "98.8 %"],
    [0.00057, "0.057 %"],
    [0, "0 %"],
    [-0.000001, "0 %"],
    [-0.123, "−12.3 %"],
    [-12.3456, "−1235 %"],
  ];
  for (const [share, text] of cases) t.equal(shareText(share), text);
  t.equal(signedShareText(0.5), "+50.0 %");
  t.equal(signedShareText(-0.5), "−50.0 %");
});

t.test("amounts have units", async (t) => {
  t.strictSame(
    [wireText(999), wireText(1234), wireText(53.26e6), wireText(2e9)],
    ["999 B", "1.23 kB", "53.3 MB", "2 GB"],
  );
  t.strictSame(
    [memoryText(2 ** 29), memoryText(1.5 * 2 ** 30), memoryText(12)],
    ["512 MiB", "1.5 GiB", "12 B"],
  );
  t.strictSame([awayText(20e3), awayText(600e3), awayText(7200e3)], ["20 s", "10 min", "2 h"]);
});

t.test("guests, links and workloads have names", async (t) => {
  t.equal(guestName(syntheticRecord({ diskBytes: 2 ** 32 })), "1 GiB, aged, disk of 4 GiB");
  t.equal(linkName(syntheticRecord().link), "100 Mbit/s, 40 ms");
  t.equal(workloadName({ workload: "dirtier", dirtyPagesPerSecond: 500 }), "dirtier, 500 pages/s");
});

t.test("the spread says as much as there are runs for", async (t) => {
  const texts = (...values: number[]) => spreadTexts(summarise(values) as never, String);
  t.strictSame(texts(5), ["one run"]);
  t.strictSame(texts(5, 7, 6), ["5 to 7"]);
  t.strictSame(texts(1, 2, 3, 4, 5), ["1 to 5", "quartiles 2, 4"]);
});
