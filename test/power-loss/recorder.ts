/**
 * Records what a program does to a folder, with strace. It sees the calls of all of libuv's threads and of child
 * processes such as a QEMU that makes images; patching `node:fs` would see neither those nor what a future release of
 * Node does behind it.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CrashModel } from "./crash-states.ts";
import type { Operation } from "./operations.ts";
import { hexOf, readCalls, readDescents } from "./strace-output.ts";
import { TracedFiles, tracedCalls } from "./traced-files.ts";

/** Longest string that strace writes whole; no call of ours has more. */
const maxStringBytes = 8 << 20;

/** Why nothing can be recorded here, or false. */
export const cannotRecord = findObstacle();

/** A folder in memory where there is one: states after a crash are many and small. */
export function scratchFolder(): string {
  let parent = "/dev/shm";
  try {
    accessSync(parent, constants.W_OK);
  } catch {
    parent = tmpdir();
  }
  return mkdtempSync(join(parent, "bfmig-power-"));
}

/** Runs a scenario of `scenario-child.ts` in an empty folder and returns what it did there, with its marks. */
export async function record(scenario: string): Promise<readonly Operation[]> {
  const scratch = scratchFolder();
  try {
    const [root, run, marks, trace] = ["root", "run", "marks", "trace"].map((name) => join(scratch, name));
    for (const folder of [root, run]) mkdirSync(folder, { mode: 0o700 });
    writeFileSync(marks, "");
    const child = fileURLToPath(new URL("./scenario-child.js", import.meta.url));
    await runTraced(trace, [process.execPath, child, scenario, root, run, marks]);
    const text = readFileSync(trace, "latin1");
    const files = new TracedFiles(root, marks, readDescents(text));
    for (const event of readCalls(text, [hexOf(root), hexOf(marks)])) files.take(event);
    compareWithFolder(files.operations, root);
    return files.operations;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function runTraced(trace: string, command: readonly string[]): Promise<void> {
  const options = ["-f", "-qq", "-y", "-xx", "--seccomp-bpf", "-s", String(maxStringBytes), "-o", trace];
  const filters = ["-e", "signal=none", "-e", `trace=${tracedCalls.join(",")}`];
  const child = spawn("strace", [...options, ...filters, ...command], {
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe"],
    // Calls that go through a ring are not seen.
    env: { ...process.env, UV_USE_IO_URING: "0", NODE_V8_COVERAGE: "", NODE_OPTIONS: "" },
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => said.push(text));
  }
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`Cannot record: the scenario ended with ${code}: ${said.join("")}`);
}

/** What was seen must lead to what is there: a change that went past strace would show here. */
function compareWithFolder(operations: readonly Operation[], root: string): void {
  const state = new CrashModel(operations).state(operations.length, "kept");
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
  const seen = [...state.keys()].sort();
  if (names.join("\n") !== seen.join("\n")) {
    throw new Error(`Cannot record: ${names.join(" ")} are there, ${seen.join(" ")} were seen`);
  }
  for (const [path, file] of state) {
    if (file === null || Buffer.compare(readFileSync(join(root, path)), file.content()) === 0) continue;
    throw new Error(`Cannot record: ${path} has another content than was seen`);
  }
}

function findObstacle(): string | false {
  if (process.platform !== "linux") return "strace is for Linux";
  const { status, error, stderr } = spawnSync("strace", ["-f", "--seccomp-bpf", "-o", "/dev/null", "true"], {
    encoding: "utf8",
  });
  if (error) return "strace is not installed (Debian: strace)";
  return status === 0 ? false : `strace cannot trace here: ${stderr.trim()}`;
}
