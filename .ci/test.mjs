/**
 * Runs the compiled tests with tap, two files at a time: first unit tests, then test/integration, whose files take minutes
 * each, since they start virtual machines. None of them uses what another one could: ports, folders, names.
 *
 *   node .ci/test.mjs [PATTERN…]    only files whose path contains one of the patterns
 *
 * Tests that are skipped are named with the reason. The last line printed has the totals. With RESULTS_FILE set,
 * `PASSED FAILED` is appended to that file.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Failure, runScript } from "./failure.mjs";
import { filesUnder, outputFolder, root, toolEntry } from "./project.mjs";
import { createTally } from "./tap-tally.mjs";

const JOBS = 2;
const UNIT = { timeoutSeconds: 180 };
const INTEGRATION = { timeoutSeconds: 900 };

/** What tap says about a failed point that does not help to find the cause. */
const OMITTED_DETAILS = [
  "at",
  "source",
  "compare",
  "args",
  "command",
  "cwd",
  "stdio",
  "externalID",
  "jobId",
  "tapCaught",
];

await runScript("test", async () => {
  const { positionals: patterns } = parseArgs({ allowPositionals: true });
  const files = testFiles(patterns);
  if (files.length === 0)
    throw new Failure(`Cannot find a test file for ${patterns.join(" ") || "dist/test"}`);
  const integration = files.filter((file) => file.startsWith("dist/test/integration/"));
  const unit = files.filter((file) => !integration.includes(file));

  const tallies = [];
  if (unit.length > 0) tallies.push(await runSuite(UNIT, unit));
  if (integration.length > 0) tallies.push(await runSuite(INTEGRATION, integration));

  const sum = (key) => tallies.reduce((total, tally) => total + tally[key], 0);
  const passed = sum("passed");
  const failed = sum("failed");
  console.log(
    `tests: ${passed} passed, ${failed} failed, ${sum("skipped")} skipped, ${sum("todo")} todo` +
      ` (${files.length} files, ${sum("assertions")} assertions)`,
  );
  if (process.env.RESULTS_FILE) appendFileSync(process.env.RESULTS_FILE, `${passed} ${failed}\n`);
  if (failed > 0 || passed === 0) process.exitCode = 1;
});

function testFiles(patterns) {
  const wanted = patterns.map((pattern) => pattern.replace(/\.ts$/, ""));
  return filesUnder(join(outputFolder, "test"), root).filter(
    (file) =>
      file.endsWith(".test.js") && (wanted.length === 0 || wanted.some((part) => file.includes(part))),
  );
}

/** Runs `files` with tap, reports each as it ends, and gives back the counts. */
async function runSuite({ timeoutSeconds }, files) {
  const tap = toolEntry("tap", "dist/esm/run.mjs");
  const args = ["run", "--reporter=tap", `--jobs=${JOBS}`, `--timeout=${timeoutSeconds}`, ...files];
  const child = spawn(process.execPath, [tap, ...args], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const counter = createTally({ onFailure: reportFailure, onSkip: reportSkip, onFile: reportFile });
  child.stdout.setEncoding("utf8").on("data", (text) => counter.write(text));
  const [status] = await once(child, "close");
  const tally = counter.end();
  // tap itself may fail in a way that its output does not show.
  if (status !== 0 && tally.failed === 0) tally.failed = 1;
  return tally;
}

function reportFile({ ok, skip, name, time }) {
  const word = ok ? (skip ? "skipped" : "ok     ") : "FAILED ";
  const duration = time === null ? "" : ` (${(time / 1000).toFixed(1)} s)`;
  console.log(`${word} ${name}${duration}`);
}

/** A whole file that is skipped is reported as a file. */
function reportSkip(names, { skip }) {
  if (names.length > 1) console.log(`skipped ${names.join(" > ")}: ${skip}`);
}

function reportFailure(names, { diag }) {
  console.log(`\nFAILED  ${names.join(" > ")}`);
  for (const [key, value] of Object.entries(diag ?? {})) {
    if (OMITTED_DETAILS.includes(key)) continue;
    if (typeof value === "string" && value.includes("\n"))
      console.log(indent(`${key}:\n${indent(value, 2)}`, 8));
    else console.log(indent(`${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`, 8));
  }
  console.log();
}

function indent(text, columns) {
  return text.trimEnd().replace(/^/gm, " ".repeat(columns));
}
