import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { planSessions } from "../../cli/experiments/plan.ts";
import { recordOf } from "../experiments/records.ts";
import { jsonLines, runProgram } from "./program.ts";

t.test("what cannot be run is told before anything is started", async (t) => {
  const out = join(t.testdir(), "out");
  const cases: [string[], RegExp][] = [
    [[], /--out/],
    [
      ["--out", out, "--workload", "idle,postgress"],
      /there is no workload "postgress"; there are idle, redis/,
    ],
    [["--out", out, "--method", "postcopy"], /there is no method "postcopy"; there are precopy, xbzrle/],
    [["--out", out, "--link", "100"], /"100" is no link; write Mbit\/s \(0\.1 at least\) and ms/],
    [["--out", out, "--link", "0/10"], /"0\/10" is no link/],
    [["--out", out, "--memory", "77MiB"], /no guest of the plan is like that/],
    [["--out", out, "--memory", "much"], /much/],
    [["--out", out, "--age", "old"], /there is no age "old"; there are fresh, aged/],
    [["--out", out, "--away", "10s,2d"], /2d/],
    [["--out", out, "--away", "0s"], /above zero/],
    [["--out", out, "--away", "25h"], /at most a day/],
    [["--out", out, "--repeats", "0"], /a whole number from 1 to 999/],
  ];
  for (const [args, message] of cases) {
    const { code, err } = await runProgram(["bench", "experiments", ...args]);
    t.equal(code, 2, args.join(" "));
    t.match(err, message);
  }
});

t.test("runs that are in the results are not made again", async (t) => {
  const out = join(t.testdir(), "out");
  const sessions = planSessions({
    quick: true,
    workloads: ["web"],
    links: null,
    methods: null,
    memoriesMiB: null,
    ages: null,
    awaysMs: null,
    repeats: 1,
  });
  const runs = sessions.flatMap(({ experiments }) => experiments);
  await mkdir(out);
  const lines = runs.map((run) => `${JSON.stringify(recordOf(run))}\n`);
  await writeFile(join(out, "results.jsonl"), lines.join(""));
  const args = ["bench", "experiments", "--quick", "--workload", "web", "--out", out];
  const ended = await runProgram([...args, "--json"]);
  t.equal(ended.code, 0, ended.err);
  t.strictSame(jsonLines(ended), [
    { event: "plan", runs: runs.length, kept: runs.length, estimateMs: 0 },
    { event: "done", runs: runs.length, kept: runs.length, made: 0, failures: [] },
  ]);
  await writeFile(join(out, "results.jsonl"), `${lines[0]}something else\n`);
  const refused = await runProgram(args);
  t.equal(refused.code, 1);
  t.match(refused.err, /Cannot read line 2 of .*results\.jsonl/);
});
