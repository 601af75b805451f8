/** The runtimes that the package must run in: this Node, the newest one, and Deno. Set-up installs the others. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const setUp = (await import(pathToFileURL(join(process.cwd(), ".ci/runtimes.mjs")).href)) as {
  runtimes: { node: string; deno: string };
};

/** A program that runs JavaScript modules. */
export type Runtime = {
  readonly name: "node" | "newest node" | "deno";
  /** Runs a script in `folder` and returns what it printed. Throws with its errors if it fails. */
  run(folder: string, script: string, ...scriptArguments: string[]): string;
  /** The same runtime with options of its own before the script. */
  with(...options: string[]): Runtime;
};

/** Deno keeps what it compiled here. */
const denoFolder = mkdtempSync(join(tmpdir(), "bfmig-deno-"));
process.on("exit", () => rmSync(denoFolder, { recursive: true, force: true }));

const denoOptions = ["run", "--no-prompt", "--allow-read", "--no-remote", "--no-lock"];

/** The Node that runs the tests. */
export const thisNode: Runtime = runtime("node", process.execPath, []);
/** The newest Node that npm has, as set-up pins it. */
export const newestNode: Runtime = runtime("newest node", setUp.runtimes.node, []);
/** Deno, without access to the network, and with no file of its own to write. */
export const deno: Runtime = runtime("deno", setUp.runtimes.deno, denoOptions);

/** All of them. */
export const allRuntimes: readonly Runtime[] = [thisNode, newestNode, deno];

function runtime(name: Runtime["name"], program: string, options: readonly string[]): Runtime {
  return {
    name,
    with: (...more) => runtime(name, program, [...options, ...more]),
    run(folder, script, ...scriptArguments) {
      if (!existsSync(program)) {
        throw new Error(`Run node .ci/setup.mjs --tests first: there is no ${name} at ${program}`);
      }
      const result = spawnSync(program, [...options, script, ...scriptArguments], {
        cwd: folder,
        encoding: "utf8",
        env: environment(),
      });
      if (result.error) throw result.error;
      if (result.status !== 0) throw new Error(`${name} ${script} failed:\n${result.stdout}${result.stderr}`);
      return result.stdout;
    },
  };
}

/** Nothing of the test runner's settings reaches the runtimes. */
function environment(): NodeJS.ProcessEnv {
  const { FORCE_COLOR: _, NODE_OPTIONS: __, ...rest } = process.env;
  return { ...rest, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", DENO_DIR: denoFolder };
}
