/**
 * What a path on the command line stands for. Folders are recognised by what they contain:
 *
 *     any folder/…/STORE/<vm>/generations/<n>/manifest.json
 *     └─ searched ─┘      └VM┘ └generations┘ └one generation┘
 */

import { lstat, readdir, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { messageOf, OperationError } from "../errors.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { branchesFolder, branchNamePattern } from "../store/branches.ts";
import { namesIn } from "../store/folder.ts";
import type { FindingLog } from "./report.ts";

/** Generations of one VM that are to be verified. */
export interface VmTarget {
  /** Name by the folder; null where the folder says nothing, then the manifests do. */
  readonly vm: string | null;
  /** Store folder, beside which keys lie by default; null for a folder outside of a store. */
  readonly storePath: string | null;
  readonly generationsPath: string;
  /** Folder name of the one generation, or branch, to verify, with what is under it; null for all. */
  readonly only: string | null;
}

/** What one path, or several, stand for. */
export interface Targets {
  readonly vms: VmTarget[];
  /** Files that were named by themselves. */
  readonly files: string[];
}

/** How deep below a path stores are searched. */
const maxDepth = 8;

/** Finds out what the paths stand for. Throws OperationError "usage" if one stands for nothing. */
export async function findTargets(paths: readonly string[], log: FindingLog): Promise<Targets> {
  const targets: Targets = { vms: [], files: [] };
  for (const given of paths) {
    const path = await resolve(given);
    const before = targets.vms.length + log.findings.length;
    const stat = await lstat(path);
    if (stat.isFile()) {
      targets.files.push(path);
      continue;
    }
    if (stat.isDirectory() && (await isGeneration(path))) targets.vms.push(oneGeneration(path));
    else if (stat.isDirectory()) await search(path, 0, targets.vms, log);
    if (targets.vms.length + log.findings.length === before) {
      throw new OperationError(
        "usage",
        `Cannot verify ${given}: there is no store, VM, generation or file of one at or below it`,
      );
    }
  }
  return targets;
}

async function resolve(given: string): Promise<string> {
  try {
    return await realpath(given);
  } catch (error) {
    throw new OperationError("usage", `Cannot verify ${given}: ${messageOf(error)}`);
  }
}

async function isGeneration(path: string): Promise<boolean> {
  if (basename(dirname(path)) === "generations" && /^[0-9]+$/.test(basename(path))) return true;
  return (await readdir(path)).includes("manifest.json");
}

function oneGeneration(path: string): VmTarget {
  const parent = dirname(path);
  const only = basename(path);
  if (basename(parent) === branchesFolder) return oneBranch(dirname(parent), only);
  if (basename(parent) !== "generations") return { vm: null, storePath: null, generationsPath: parent, only };
  return { ...wholeVm(dirname(parent)), only };
}

function wholeVm(path: string): VmTarget {
  const generationsPath = join(path, "generations");
  return { vm: basename(path), storePath: dirname(path), generationsPath, only: null };
}

/** A branch is checked as one generation is, in its own folder. */
function oneBranch(path: string, name: string): VmTarget {
  return { ...wholeVm(path), generationsPath: join(path, branchesFolder), only: name };
}

/** The VM's generations, and each of its branches that has memory. */
async function allOf(path: string, found: VmTarget[]): Promise<void> {
  found.push(wholeVm(path));
  const names = (await namesIn(join(path, branchesFolder))).sort();
  for (const name of names) {
    if (!branchNamePattern.test(name) || !names.includes(`${name}.json`)) continue;
    // What is wrong with one that is no folder is found with the records.
    if ((await lstat(join(path, branchesFolder, name))).isDirectory()) found.push(oneBranch(path, name));
  }
}

async function search(path: string, depth: number, found: VmTarget[], log: FindingLog): Promise<void> {
  if (basename(path) === "generations") {
    await allOf(dirname(path), found);
    return;
  }
  const entries = (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (entries.some((entry) => entry.name === "generations" && entry.isDirectory())) {
    await allOf(path, found);
    return;
  }
  for (const entry of entries) {
    const child = join(path, entry.name);
    if (entry.isSymbolicLink())
      log.add({ path: child, problem: "it is a symbolic link and was not followed" });
    else if (entry.name.startsWith(partialPrefix)) log.note(child, "left over by something interrupted");
    else if (entry.isDirectory() && depth < maxDepth) await search(child, depth + 1, found, log);
  }
}
