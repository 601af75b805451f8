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
import type { FindingLog } from "./report.ts";

/** Generations of one VM that are to be verified. */
export interface VmTarget {
  /** Name by the folder; null where the folder says nothing, then the manifests do. */
  readonly vm: string | null;
  /** Store folder, beside which keys lie by default; null for a folder outside of a store. */
  readonly storePath: string | null;
  readonly generationsPath: string;
  /** Folder name of the one generation to verify, with what is under it; null for all. */
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
  if (basename(parent) !== "generations") return { vm: null, storePath: null, generationsPath: parent, only };
  return { ...wholeVm(dirname(parent)), only };
}

function wholeVm(path: string): VmTarget {
  const generationsPath = join(path, "generations");
  return { vm: basename(path), storePath: dirname(path), generationsPath, only: null };
}

async function search(path: string, depth: number, found: VmTarget[], log: FindingLog): Promise<void> {
  if (basename(path) === "generations") {
    found.push(wholeVm(dirname(path)));
    return;
  }
  const entries = (await readdir(path, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (entries.some((entry) => entry.name === "generations" && entry.isDirectory())) {
    found.push(wholeVm(path));
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
