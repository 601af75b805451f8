/** Which program is measured: results of another one are no results. */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder in which cli, src and test lie: dist, or the sources. */
const root = fileURLToPath(new URL("../../", import.meta.url));
/** Code that takes part in a leg. */
const ownFolders = ["cli", "src", "wasm-build"];
/** Code that takes part in a migration of QEMU's own, and in what is measured of it. */
const baselineFiles = ["guest-code", "guest", "link-direction", "link-emulator", "link-schedule", "precopy"];

/** A digest of the code that legs run on. */
export function ownDigest(): string {
  return digestOf(ownFolders.flatMap((folder) => filesIn(join(root, folder))));
}

/** A digest of the code that the baselines run on. */
export function baselineDigest(): string {
  const wanted = new RegExp(`/cli/demo/(${baselineFiles.join("|")})\\.[jt]s$`);
  return digestOf(filesIn(join(root, "cli", "demo")).filter((path) => wanted.test(path)));
}

/** The commit of the sources, for people; null where there is no repository. */
export function commit(): string | null {
  const options = { cwd: root, encoding: "utf8" } as const;
  const head = spawnSync("git", ["rev-parse", "--short", "HEAD"], options);
  if (head.status !== 0) return null;
  const changes = spawnSync("git", ["status", "--porcelain", "--untracked-files=no"], options);
  return `${head.stdout.trim()}${changes.stdout === "" ? "" : ", changed"}`;
}

function digestOf(paths: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of paths) hash.update(`${path.slice(root.length)}\0`).update(readFileSync(path));
  return hash.digest("hex").slice(0, 16);
}

/** Compiled code and modules, or sources; no maps and types. In a fixed order. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(js|ts|wasm)$/.test(name) && !name.endsWith(".d.ts"))
    .sort()
    .map((name) => join(folder, name));
}
