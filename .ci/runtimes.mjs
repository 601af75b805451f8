/**
 * The other runtimes that tests run the package under: the newest Node and Deno. npm packages ship their programs; they
 * are installed beside the scripts, apart from the project's own packages, and only where tests are run.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, say } from "./failure.mjs";
import { root } from "./project.mjs";

const folder = join(root, ".ci/runtimes");
const platform = `${process.platform}-${process.arch}`;

/** The programs by name. They lie in packages of their platform; those of another one are not installed. */
export const runtimes = {
  node: join(folder, `node_modules/node-${platform}/bin/node`),
  deno: join(folder, `node_modules/@deno/${platform}-glibc/deno`),
};

/** Whether the runtimes are there, at the versions that the lock file asks for. */
export function runtimesInstalled() {
  const packages = packagesHere();
  return isSupported(packages) && packages.every(([path, wanted]) => installedVersion(path) === wanted);
}

/** Installs the runtimes; throws a Failure where no package has them for this platform. */
export function installRuntimes() {
  say("setup", "installing the runtimes that tests need");
  if (!isSupported(packagesHere())) {
    throw new Failure(
      `Run the tests on Linux: there are no packages of Node and Deno for ${platform} in ${folder}`,
    );
  }
  const options = ["ci", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund"];
  const result = spawnSync("npm", options, { cwd: folder, stdio: ["ignore", 2, 2] });
  if (result.error) throw new Failure(`Cannot run npm: ${result.error.message}`);
  if (result.status !== 0 || !runtimesInstalled()) {
    throw new Failure("Cannot install the runtimes that tests need: `npm ci` failed, see above");
  }
}

function isSupported(packages) {
  return packages.length === Object.keys(runtimes).length;
}

/** The packages with programs for this platform, each with its version in the lock file. */
function packagesHere() {
  const { packages } = JSON.parse(readFileSync(join(folder, "package-lock.json"), "utf8"));
  const programs = Object.values(runtimes).map((path) => path.slice(folder.length + 1));
  return Object.entries(packages)
    .filter(([path]) => programs.some((program) => path !== "" && program.startsWith(`${path}/`)))
    .map(([path, { version }]) => [path, version]);
}

function installedVersion(path) {
  const description = join(folder, path, "package.json");
  return existsSync(description) ? JSON.parse(readFileSync(description, "utf8")).version : undefined;
}
