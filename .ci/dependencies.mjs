import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, say } from "./failure.mjs";
import { root } from "./project.mjs";

/** npm writes this copy of the lock file as the last step of an installation. */
const INSTALLED_LOCK = "node_modules/.package-lock.json";

/** Whether node_modules has every package at the version that package-lock.json asks for. */
export function dependenciesInstalled() {
  const wanted = readPackages("package-lock.json");
  const installed = readPackages(INSTALLED_LOCK);
  if (wanted === undefined)
    throw new Failure("Cannot read package-lock.json: restore it from the repository");
  if (installed === undefined) return false;
  // Optional packages are those of other platforms; the entry named "" is this project itself.
  return Object.entries(wanted).every(
    ([path, entry]) => path === "" || entry.optional || installed[path]?.integrity === entry.integrity,
  );
}

/** Installs what package-lock.json says, development tools included. */
export function installDependencies() {
  say("setup", "installing npm packages");
  const result = spawnSync("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (result.error) throw new Failure(`Cannot run npm: ${result.error.message}`);
  if (result.status !== 0) throw new Failure("Cannot install npm packages: `npm ci` failed, see above");
}

function readPackages(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), "utf8")).packages;
  } catch {
    return undefined;
  }
}
