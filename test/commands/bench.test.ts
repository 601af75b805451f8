import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { syntheticRecords } from "../experiments/report/synthetic-records.ts";
import { jsonLines, runProgram } from "./program.ts";

const quick = syntheticRecords({ quick: true });

t.test("bench report tells what it wrote and what it could not draw", async (t) => {
  const folder = t.testdir({});
  writeFileSync(join(folder, "results.jsonl"), quick.map((record) => `${JSON.stringify(record)}\n`).join(""));
  const told = await runProgram(["bench", "report", folder]);
  t.match(told, { code: 0, err: "" });
  t.match(told.out, /^12 runs, all converged\n.* is not drawn: .*\n.* is not drawn: .*\nwrote /);
  const files = ["results.json", "results.csv", "report.html"].map((name) => join(folder, name));
  t.ok(told.out.endsWith(files.map((file) => `wrote ${file}\n`).join("")));
  const lines = jsonLines(await runProgram(["bench", "report", folder, "--markdown", "--json"]));
  t.match(lines, [
    { event: "done", runs: 12, notConverged: 0, files: [...files, join(folder, "report.md")] },
  ]);
  t.ok(readdirSync(folder).includes("report.md"));
});

t.test("results that are broken, missing or of another version end with 1 and the place", async (t) => {
  const folder = t.testdir({ "results.jsonl": `${JSON.stringify(quick[0])}\n{"format":1` });
  const broken = await runProgram(["bench", "report", folder, "--json"]);
  t.match(broken, { code: 1, err: /^bfmig: Cannot read .*results\.jsonl, line 2: it is not JSON/ });
  t.match(jsonLines(broken), [{ event: "error", reason: "failed", code: 1 }]);
  const missing = await runProgram(["bench", "report", join(folder, "none")]);
  t.match(missing, { code: 1, err: /there is no such file: name the folder that has results\.jsonl/ });
});
