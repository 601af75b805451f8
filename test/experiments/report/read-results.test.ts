import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readResults } from "../../../cli/experiments/report/read-results.ts";
import { syntheticRecord } from "./synthetic-records.ts";

const at = (minute: number) => `2026-01-02T03:${String(minute).padStart(2, "0")}:00Z`;

function folderWith(t: Test, text: string): string {
  const folder = t.testdir({});
  writeFileSync(join(folder, "results.jsonl"), text);
  return folder;
}

function lines(...values: readonly unknown[]): string {
  return values.map((value) => (typeof value === "string" ? value : JSON.stringify(value))).join("\n");
}

t.test("runs come in the order of the file, whatever ends its lines", async (t) => {
  const records = [syntheticRecord({ at: at(1) }), syntheticRecord({ at: at(2), method: "xbzrle" })];
  t.strictSame(await readResults(folderWith(t, `${lines(...records)}\n`)), records);
  const windows = lines(...records).replaceAll("\n", "\r\n\r\n");
  t.strictSame(await readResults(folderWith(t, windows)), records);
});

t.test("what cannot be read is named with file and line", async (t) => {
  const good = syntheticRecord();
  const range = { value: 5, low: 6, high: 7 };
  const predicted = { totalMs: range, downtimeMs: range, wireBytes: range };
  const cases: [what: string, text: string, message: RegExp][] = [
    [
      "cut off",
      lines(good, '{"format":1,"workl'),
      /results\.jsonl, line 2: it is not JSON, as if it had been cut off; remove/,
    ],
    [
      "a later format",
      lines(good, "", { ...good, format: 2 }),
      /line 3: its format is 2, and this program knows 1/,
    ],
    ["no object", lines("7"), /line 1: the line: /],
    ["a workload that nobody knows", lines({ ...good, workload: "chess" }), /line 1: workload: /],
    ["a negative time", lines({ ...good, totalMs: -1 }), /line 1: totalMs: /],
    ["a field that nobody knows", lines({ ...good, colour: "red" }), /line 1: .*colour/],
    ["no time", lines({ ...good, at: "yesterday" }), /line 1: at: /],
    ["half a link", lines({ ...good, link: { rttMs: 1 } }), /line 1: link\.bitsPerSecond: /],
    [
      "a turned interval",
      lines({ ...good, predicted }),
      /line 1: predicted\.totalMs: its value is not between/,
    ],
    [
      "the same run twice",
      lines(good, { ...good, totalMs: 1 }),
      /line 2: it is the same run as line 1: remove one/,
    ],
    ["nothing", "\n\n", /Cannot report on .*results\.jsonl has no runs/],
  ];
  for (const [what, text, message] of cases) {
    await t.rejects(
      readResults(folderWith(t, text)),
      { name: "OperationError", reason: "failed", message },
      what,
    );
  }
});

t.test("a folder without results is told from one that cannot be read", async (t) => {
  const folder = t.testdir({ other: { "results.jsonl": {} } });
  await t.rejects(readResults(folder), {
    message: /there is no such file: name the folder that has results\.jsonl/,
  });
  await t.rejects(readResults(join(folder, "other")), { message: /Cannot read .*EISDIR/ });
});
