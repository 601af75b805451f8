import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { ExperimentRecord } from "../../../cli/experiments/record.ts";
import { makeReport } from "../../../cli/experiments/report/make-report.ts";
import { syntheticRecord, syntheticRecords } from "./synthetic-records.ts";

const again = { command: "bfmig bench report DIR", experiments: null, markdown: false };

function folderOf(t: Test, records: readonly ExperimentRecord[]): string {
  const folder = t.testdir({});
  writeFileSync(
    join(folder, "results.jsonl"),
    records.map((record) => `${JSON.stringify(record)}\n`).join(""),
  );
  return folder;
}

t.test("the files of a report lie beside the runs, which stay as they are", async (t) => {
  const records = [
    ...syntheticRecords({ quick: true }),
    syntheticRecord({ workload: "web", converged: false }),
  ];
  const folder = folderOf(t, records);
  const before = readFileSync(join(folder, "results.jsonl"));
  const made = await makeReport(folder, { ...again, markdown: true });
  const names = ["results.json", "results.csv", "report.html", "report.md"];
  t.match(made, { runs: 13, notConverged: 1, files: names.map((name) => join(folder, name)) });
  t.equal(made.missing.length, 2);
  t.strictSame(readdirSync(folder).sort(), [...names, "results.jsonl"].sort());
  t.strictSame(readFileSync(join(folder, "results.jsonl")), before);

  const json = JSON.parse(readFileSync(join(folder, "results.json"), "utf8"));
  t.match(json, { format: 1, experiments: null, report: { command: again.command } });
  t.equal(json.runs.length, 13);
  t.match(json.runs[0], { link_rtt_ms: 40, predicted_total_ms: null, converged: true });
  const back = json.groups.find((group: { method: string }) => group.method === "bfmig-return");
  const plain = json.groups.find((group: { method: string }) => group.method === "precopy");
  t.equal(back.saved.time.plain.median, 1 - back.totalMs.median / plain.totalMs.median);
  t.match(json.groups.at(-1), { workload: "web", converged: 0, notConverged: 1, totalMs: null });
  t.equal(json.errors.totalMs.legs, 6);
});

t.test("a later report keeps what is known of the machine that measured", async (t) => {
  const folder = folderOf(t, [syntheticRecord()]);
  const html = () => readFileSync(join(folder, "report.html"), "utf8");
  await makeReport(folder, again);
  t.match(html(), /Machine of the experiments<\/dt><dd>not recorded</);
  const experiments = { command: "bfmig bench experiments --out DIR", machine: "2 x a processor" };
  await makeReport(folder, { ...again, command: experiments.command, experiments });
  await makeReport(folder, again);
  t.match(
    html(),
    /Machine of the experiments<\/dt><dd>2 x a processor<.*\n.*<dd>bfmig bench experiments --out DIR</,
  );
  t.match(html(), /This report<\/dt><dd>made \d{4}-\d\d-\d\d \d\d:\d\d UTC by bfmig bench report DIR</);
  writeFileSync(join(folder, "results.json"), '{"experiments":{"machine":7}}');
  await makeReport(folder, again);
  t.match(html(), /Machine of the experiments<\/dt><dd>not recorded</, "what is not one is not taken over");
});

t.test(
  "nothing is written where runs cannot be read, and a file that cannot be written is named",
  async (t) => {
    const broken = folderOf(t, [syntheticRecord({ totalMs: -1 })]);
    await t.rejects(makeReport(broken, again), { message: /line 1: totalMs/ });
    t.strictSame(readdirSync(broken), ["results.jsonl"]);
    const taken = folderOf(t, [syntheticRecord()]);
    mkdirSync(join(taken, "report.html"));
    await t.rejects(makeReport(taken, again), {
      reason: "failed",
      message: /Cannot write .*report\.html: EISDIR/,
    });
  },
);
