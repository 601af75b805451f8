/**
 * Runs every test that starts QEMU on each QEMU and machine that is supported, one configuration after the other, and
 * the journeys between two versions. That takes hours; `npm test` has a small part of it.
 *
 *   node .ci/test-all.mjs [--only NAME]… [PATTERN…]
 *
 *   --only NAME   only this configuration, such as 10.0/q35; may be given several times
 *   PATTERN       only test files whose path contains one of the patterns
 *
 * What the tests print goes to dist/test-all/, a file for each configuration. The last line printed has the totals.
 * With RESULTS_FILE set, `PASSED FAILED` is appended to that file.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, createWriteStream, mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Failure, runScript } from "./failure.mjs";
import { filesUnder, outputFolder, root } from "./project.mjs";
import { backportedQemu, backportedQemuReady, whyNoBackportedQemu } from "./qemu-backports.mjs";

const SYSTEM_QEMU = "qemu-system-x86_64";
/** Folders of dist/test/ with tests that start a QEMU. */
const FOLDERS = ["integration", "qemu", "qemu-stream", "disk", "nbd", "demo"];
/** Chooses its QEMUs itself. */
const VERSIONS_TEST = "dist/test/integration/qemu-versions.test.js";
const TOTALS =
  /^tests: (\d+) passed, (\d+) failed, (\d+) skipped, (\d+) todo \((\d+) files, (\d+) assertions\)$/;
const COUNTS = ["passed", "failed", "skipped", "todo", "files", "assertions"];

const CONFIGURATIONS = [
  { name: "7.2/pc", qemu: SYSTEM_QEMU, machine: "pc-i440fx-7.2" },
  { name: "7.2/q35", qemu: SYSTEM_QEMU, machine: "pc-q35-7.2" },
  { name: "10.0/pc", qemu: backportedQemu, machine: "pc-i440fx-10.0" },
  { name: "10.0/q35", qemu: backportedQemu, machine: "pc-q35-10.0" },
  { name: "versions" },
];

await runScript("test-all", async () => {
  const options = { only: { type: "string", multiple: true, default: [] } };
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  const chosen = chooseConfigurations(values.only);
  checkQemus();
  const runs = chosen.map((configuration) => ({
    configuration,
    files: filesFor(configuration, positionals),
  }));
  if (runs.every(({ files }) => files.length === 0))
    throw new Failure(`Cannot find a test file for ${positionals.join(" ")}`);
  const total = Object.fromEntries(COUNTS.map((key) => [key, 0]));
  for (const { configuration, files } of runs) {
    if (files.length === 0) continue;
    const counts = await runConfiguration(configuration, files);
    for (const key of COUNTS) total[key] += counts[key];
  }
  console.log(
    `tests: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped, ${total.todo} todo` +
      ` (${total.files} files, ${total.assertions} assertions)`,
  );
  if (process.env.RESULTS_FILE) appendFileSync(process.env.RESULTS_FILE, `${total.passed} ${total.failed}\n`);
  if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
});

function chooseConfigurations(only) {
  const unknown = only.find((name) => !CONFIGURATIONS.some((one) => one.name === name));
  if (unknown === undefined)
    return CONFIGURATIONS.filter(({ name }) => only.length === 0 || only.includes(name));
  const names = CONFIGURATIONS.map(({ name }) => name).join(", ");
  throw new Failure(`Write one of ${names} after --only: there is no ${unknown}`);
}

/** A run on two QEMUs of the same version would say less than it seems to. */
function checkQemus() {
  const { stdout } = spawnSync(SYSTEM_QEMU, ["-version"], { encoding: "utf8" });
  const version = /^QEMU emulator version (\d+\.\d+)/.exec(stdout ?? "")?.[1];
  if (version !== "7.2")
    throw new Failure(`Use a system with QEMU 7.2 for all tests: ${SYSTEM_QEMU} is ${version ?? "missing"}`);
  if (!backportedQemuReady()) throw new Failure(whyNoBackportedQemu());
}

function filesFor({ machine }, patterns) {
  const wanted = patterns.map((pattern) => pattern.replace(/\.ts$/, ""));
  return FOLDERS.flatMap((folder) => filesUnder(join(outputFolder, "test", folder), root))
    .filter((file) => file.endsWith(".test.js") && (file === VERSIONS_TEST) === (machine === undefined))
    .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)));
}

/** Runs files on a configuration, says how it went, and gives back the counts. */
async function runConfiguration({ name, qemu, machine }, files) {
  const folder = join(outputFolder, "test-all");
  mkdirSync(folder, { recursive: true });
  const logPath = join(folder, `${name.replace("/", "-")}.log`);
  const log = createWriteStream(logPath);
  const startedAt = performance.now();
  const env = { ...process.env, RESULTS_FILE: "" };
  if (machine !== undefined) Object.assign(env, { BFMIG_TEST_QEMU: qemu, BFMIG_TEST_MACHINE: machine });
  const args = [join(root, ".ci", "test.mjs"), ...files];
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
  const failures = [];
  let counts;
  createInterface({ input: child.stderr }).on("line", (line) => log.write(`${line}\n`));
  createInterface({ input: child.stdout }).on("line", (line) => {
    log.write(`${line}\n`);
    if (line.startsWith("FAILED  ")) failures.push(line);
    const numbers = TOTALS.exec(line)?.slice(1).map(Number);
    if (numbers) counts = Object.fromEntries(COUNTS.map((key, i) => [key, numbers[i]]));
  });
  const [status] = await once(child, "close");
  log.end();
  await once(log, "finish");
  // Without totals the run itself broke off: that is a failure, whatever has passed before.
  counts ??= { ...Object.fromEntries(COUNTS.map((key) => [key, 0])), failed: 1, files: files.length };
  if (status !== 0 && counts.failed === 0) counts.failed = 1;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const { passed, failed, skipped } = counts;
  console.log(
    `${failed === 0 ? "ok     " : "FAILED "} ${name.padEnd(9)} ${passed} passed, ${failed} failed, ${skipped} skipped` +
      ` (${seconds} s, ${relative(root, logPath)})`,
  );
  for (const line of failures) console.log(`        ${line}`);
  return counts;
}
