/** The records of a VM's branches. Their memory and disks are checked as a generation's are, each by itself. */

import { lstatSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Core } from "../../src/core.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { Branches, type BranchRecord, branchNamePattern } from "../store/branches.ts";
import { namesIn } from "../store/folder.ts";
import type { FindingLog } from "./report.ts";

/** Checks the records of all branches and takes note of leftovers. Null for each that cannot be read. */
export async function checkBranchRecords(
  core: Core,
  log: FindingLog,
  vm: string,
  vmPath: string,
): Promise<(BranchRecord | null)[]> {
  const store = new Branches(core, vmPath, vm);
  if (isLink(store.path)) {
    log.add({ path: store.path, problem: "it is a symbolic link and was not followed" });
    return [null];
  }
  const names = await namesIn(store.path);
  for (const name of names) {
    const path = join(store.path, name);
    if (name.startsWith(partialPrefix)) log.note(path, "left over by something interrupted");
    else if (isLink(path)) log.add({ path, problem: "it is a symbolic link and was not followed" });
    else if (name.endsWith(".json")) continue;
    else if (!branchNamePattern.test(name)) log.add({ path, problem: "it is not a branch" });
    else if (!names.includes(`${name}.json`)) log.note(path, "memory of a branch that was never completed");
  }
  const { branches, unusable } = await store.list();
  for (const { path, reason } of unusable) log.add({ path, problem: reason });
  const unread = unusable.filter(({ path }) => dirname(path) === store.path && path.endsWith(".json"));
  return [...branches.map(({ record }) => record), ...unread.map(() => null)];
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}
