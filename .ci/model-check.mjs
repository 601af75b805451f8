/**
 * Checks the model of the handover (test/model/) with spin, exhaustively: every state within the bounds is visited.
 * First the configurations, for assertions and for runs that never end; then sabotaged variants, which must fail: a
 * check that cannot fail says nothing.
 *
 *   node .ci/model-check.mjs [--quick] [--json] [--depth N]
 *
 *   --quick     small bounds and few variants
 *   --json      one object a check instead of the table
 *   --depth N   most steps of a run; a search that comes to it is not complete (100000)
 *
 * Exits with 1 if a property is violated, a search was not complete, or a variant was not found out.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Failure, runScript } from "./failure.mjs";
import {
  configurations,
  mutants,
  properties,
  quickConfigurations,
  quickMutants,
} from "./model-configurations.mjs";
import { blamedProperty, readVerdict, unreachedLines } from "./model-verdict.mjs";
import { installPrograms, missingPrograms, modelPrograms } from "./programs.mjs";
import { root } from "./project.mjs";

const MODEL = join(root, "test", "model", "handover.pml");
const CONCURRENCY = 2;
const MEMORY_MIB = 1900;
const TIMEOUT_MS = 600_000;

/** `safety`: assertions and where runs end. `progress`: a cycle is a run that never ends. */
const KINDS = {
  safety: { compile: ["-DSAFETY"], run: [] },
  progress: { compile: ["-DNP"], run: ["-l"] },
};

await runScript("model-check", async () => {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean" },
      json: { type: "boolean" },
      depth: { type: "string", default: "100000" },
    },
  });
  if (!/^[1-9]\d{0,6}$/.test(values.depth))
    throw new Failure(`Write a number of steps after --depth: ${values.depth}`);
  const missing = missingPrograms(modelPrograms);
  if (missing.length > 0) installPrograms(missing);
  const startedAt = performance.now();
  const report = values.json ? (line) => console.log(JSON.stringify(line)) : printRow;
  if (!values.json) printHead();
  const folder = mkdtempSync(join(tmpdir(), "bfmig-model-"));
  try {
    const checks = values.quick
      ? [...quickConfigurations.flatMap(checksOf), ...quickMutants.flatMap(checkOfMutant)]
      : [...configurations.flatMap(checksOf), ...mutants.flatMap(checkOfMutant)];
    const results = await inOrder(
      checks,
      (check, index) => runCheck(check, values.depth, join(folder, `${index}`)),
      report,
    );
    const surprises = results.filter(({ ok }) => !ok).length;
    const states = results.reduce((sum, one) => sum + one.states, 0);
    const seconds = Math.round((performance.now() - startedAt) / 100) / 10;
    if (values.json)
      console.log(JSON.stringify({ event: "done", checks: results.length, surprises, states, seconds }));
    else
      console.log(
        `model-check: ${results.length} checks, ${surprises} surprises, ${states} states, ${seconds} s`,
      );
    if (surprises > 0) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function checksOf({ name, about, bounds, progress = {}, isWhole = false }) {
  return [
    { name, about, kind: "safety", bounds, isWhole, finds: null },
    { name, about, kind: "progress", bounds: { ...bounds, ...progress }, isWhole: false, finds: null },
  ];
}

function checkOfMutant({ macro, about, bounds, finds }) {
  const kind = macro === "RECONNECTS_FOR_EVER" ? "progress" : "safety";
  const all = { ...bounds, [`MUTANT_${macro}`]: 1 };
  return [
    { name: macro.toLowerCase().replaceAll("_", "-"), about, kind, bounds: all, isWhole: false, finds },
  ];
}

/** Runs one search in a folder of its own. */
async function runCheck({ name, about, kind, bounds, isWhole, finds }, depthLimit, folder) {
  mkdirSync(folder);
  const defines = Object.entries(bounds).map(([macro, value]) => `-D${macro}=${value}`);
  const generated = await run("spin", ["-a", ...defines, MODEL], folder);
  if (/error/i.test(generated)) throw new Failure(`Cannot read the model: ${generated.trim()}`);
  // A variant is found out after a few states: compiling takes longer.
  const effort = finds === null ? "-O2" : "-O0";
  const options = [effort, "-w", "-DNOREDUCE", `-DMEMLIM=${MEMORY_MIB}`, ...KINDS[kind].compile];
  await run("gcc", [...options, "-o", "pan", "pan.c"], folder);
  const output = await run(join(folder, "pan"), [`-m${depthLimit}`, "-w24", ...KINDS[kind].run], folder);
  const verdict = readVerdict(output);
  let property = null;
  let trace = [];
  if (verdict.errors > 0) {
    const replay = await run("spin", ["-p", "-k", "handover.pml.trail", ...defines, MODEL], folder);
    ({ property, trace } = blamedProperty(output, replay));
  }
  const problem = problemOf(verdict, property, finds, isWhole ? unreachedLines(output) : []);
  rmSync(folder, { recursive: true, force: true });
  const { states, depth, seconds } = verdict;
  const result = { check: name, about, kind, bounds, states, depth, seconds, property, ok: problem === null };
  return problem === null ? result : { ...result, problem, trace: finds === null ? trace : [] };
}

function problemOf({ isComplete, errors }, property, finds, unreached) {
  if (finds !== null) {
    if (errors === 0) return "the sabotage was not found out";
    return finds.includes(property) ? null : `violates ${property}, not ${finds.join(" or ")}`;
  }
  if (errors > 0)
    return `violates ${property}: ${properties[property] ?? "an assertion of the model itself"}`;
  if (!isComplete) return "the search was not complete";
  return unreached.length > 0 ? `steps that are never taken: ${unreached.join(", ")}` : null;
}

/** The output of a program. A program that fails and says nothing on stdout is a Failure. */
function run(program, args, cwd) {
  return new Promise((resolve, reject) => {
    const options = { cwd, encoding: "utf8", maxBuffer: 1 << 28, timeout: TIMEOUT_MS };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error && stdout.trim() === "") {
        reject(new Failure(`Cannot run ${program}: ${stderr.trim() || error.message}`));
      } else resolve(error?.killed ? `${stdout}\nSearch not completed` : stdout);
    });
  });
}

/** Runs a few at a time; each result is reported in the order of the checks. */
async function inOrder(checks, action, report) {
  const results = [];
  let next = 0;
  let reported = 0;
  const worker = async () => {
    while (next < checks.length) {
      const index = next++;
      results[index] = await action(checks[index], index);
      for (; results[reported]; reported++) report(results[reported]);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return results;
}

function printHead() {
  for (const [name, text] of Object.entries(properties)) console.log(`${name}  ${text}`);
  console.log("\n        check                       search        states  depth      s  bounds");
}

function printRow({ check, kind, bounds, states, depth, seconds, property, ok, problem, trace, about }) {
  const isMutant = Object.keys(bounds).some((macro) => macro.startsWith("MUTANT_"));
  const shown = Object.entries(bounds)
    .filter(([macro]) => !macro.startsWith("MUTANT_"))
    .map(([macro, value]) => `${macro.toLowerCase().replaceAll("_", " ")} ${value}`)
    .join(", ");
  const cells = [
    (ok ? "ok" : "FAILED").padEnd(7),
    check.padEnd(27),
    kind.padEnd(8),
    String(states).padStart(11),
    String(depth).padStart(6),
    seconds.toFixed(1).padStart(6),
    ` ${isMutant ? `finds ${property}: ${about}` : shown}`,
  ];
  console.log(cells.join(" "));
  if (problem) console.log(`        ${problem}`);
  for (const step of trace ?? []) console.log(`        ${step}`);
}
