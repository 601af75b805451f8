/** Whether a store is in order after a power loss: opened, compared with what it must hold, tidied, verified. */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { VmKeys } from "../../cli/agent/vm-keys.ts";
import { messageOf } from "../../cli/errors.ts";
import { partialPrefix } from "../../cli/store/atomic-file.ts";
import { FileOwnershipRegister } from "../../cli/store/ownership.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { FindingLog } from "../../cli/verify/report.ts";
import { findTargets } from "../../cli/verify/targets.ts";
import { checkVm } from "../../cli/verify/vm-check.ts";
import type { Core } from "../../src/core.ts";
import { readRecords, type Snapshot, scenarioVm, takeSnapshot } from "./snapshot.ts";

/** What a store must hold: all of one or the other, each record and generation for itself. */
export interface Expected {
  readonly before: Snapshot;
  /** What was under way would have led to this. */
  readonly after: Snapshot;
}

/** What is wrong with the store in `root`; nothing if it is in order. `verifyFirst`: also before it is tidied. Tidies it. */
export async function findProblems(
  core: Core,
  root: string,
  expected: Expected,
  verifyFirst: boolean,
): Promise<string[]> {
  const problems: string[] = [];
  try {
    await check(core, root, expected, verifyFirst, problems);
  } catch (error) {
    problems.push(`it cannot be used: ${messageOf(error)}`);
  }
  return problems;
}

async function check(
  core: Core,
  root: string,
  expected: Expected,
  verifyFirst: boolean,
  problems: string[],
): Promise<void> {
  const store = new VmStore(core, join(root, "store"), scenarioVm);
  const found = await takeSnapshot("found", root, store);
  compare("record", found.records, expected, ({ records }) => records, problems);
  compare("generation", found.generations, expected, ({ generations }) => generations, problems);
  for (const { directory, reason } of (await store.list()).unusable) problems.push(`${directory}: ${reason}`);
  await new FileOwnershipRegister(join(root, "store")).read(scenarioVm);
  await store.images.current();
  if (verifyFirst && (await canVerify(root))) {
    const { findings } = await verify(core, root, true);
    for (const { path, problem } of findings) problems.push(`before the sweep: ${path}: ${problem}`);
  }
  await tidy(root, store, problems);
  const left = await takeSnapshot("tidied", root, store);
  for (const [number, digest] of Object.entries(found.generations)) {
    if (left.generations[number] !== digest) problems.push(`the sweep has removed generation ${number}`);
  }
  compareTidied(found, left, expected, problems);
  if (!(await canVerify(root))) return;
  const { findings, notes, generations } = await verify(core, root, false);
  for (const { path, problem } of findings) problems.push(`${path}: ${problem}`);
  for (const { path, note } of notes) {
    // They come before the record that names them; the next exchange removes them, not the sweep.
    if (!note.includes("no other site holds")) problems.push(`the sweep has left ${path}: ${note}`);
  }
  for (const { generation, restorable } of generations) {
    if (!restorable) problems.push(`generation ${generation} is not restorable`);
  }
}

/** What `bfmig verify` does, with a core that is there already: there are many states. */
async function verify(core: Core, root: string, quick: boolean) {
  const log = new FindingLog();
  const { vms } = await findTargets([join(root, "store")], log);
  const options = { keyPaths: [], quick, onProgress: () => {} };
  const generations = [];
  for (const target of vms) generations.push(...(await checkVm(core, log, target, options)).generations);
  return { findings: log.findings, notes: log.notes, generations };
}

/** Each entry is as it was, or as it would have become. */
function compare(
  what: string,
  found: Readonly<Record<string, string>>,
  { before, after }: Expected,
  of: (snapshot: Snapshot) => Readonly<Record<string, string>>,
  problems: string[],
): void {
  const [old, next] = [of(before), of(after)];
  for (const name of new Set([...Object.keys(old), ...Object.keys(next), ...Object.keys(found)])) {
    // It was made and removed in the same step: it may be there, and the sweep has to remove it.
    if (!(name in old) && !(name in next)) continue;
    if (found[name] === old[name] || found[name] === next[name]) continue;
    const is = found[name] === undefined ? "is missing" : `is ${JSON.stringify(found[name].slice(0, 200))}`;
    problems.push(`${what} ${name} ${is} after ${JSON.stringify(before.step)}`);
  }
}

function compareTidied(
  found: Snapshot,
  left: Snapshot,
  { before, after }: Expected,
  problems: string[],
): void {
  for (const [path, text] of Object.entries(found.records)) {
    const isExpected = path in before.records || path in after.records;
    // Descriptors that nothing names go in a sweep; whether the others are there is for the verifier to say.
    if (isExpected && !path.includes("/images/") && left.records[path] !== text) {
      problems.push(`the sweep has changed ${path}`);
    }
    if (!isExpected && path in left.records) problems.push(`the sweep has left ${path}`);
  }
}

/** Without a key or a folder of generations there is nothing to verify; `compare` says whether they may be missing. */
async function canVerify(root: string): Promise<boolean> {
  const hasKey = `store.keys/${scenarioVm}.key` in (await readRecords(root));
  return hasKey && namesUnder(root).some((path) => path === `store/${scenarioVm}/generations`);
}

/** What an agent does when it starts, and before a leg arrives. */
async function tidy(root: string, store: VmStore, problems: string[]): Promise<void> {
  const keys = new VmKeys(join(root, "store.keys"));
  await store.sweep();
  await keys.sweep();
  if ((await store.sweep()) + (await keys.sweep()) > 0) problems.push("one sweep is not enough");
  for (const path of namesUnder(root)) {
    if (path.split("/").at(-1)?.startsWith(partialPrefix)) problems.push(`the sweep has left ${path}`);
  }
}

function namesUnder(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: "utf8" });
}

/** An empty folder at `path`. */
export function emptyFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path);
}
