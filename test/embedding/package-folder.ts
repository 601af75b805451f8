/** A folder of somebody who uses the package as it would be published, and the portable checks beside it. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const pack = (await import(pathToFileURL(join(process.cwd(), ".ci/pack.mjs")).href)) as {
  packProject(folder: string): string;
};

/** Prints what the portable checks say of the installed package. */
export const CHECKS_SCRIPT = "run-checks.mjs";

/**
 * Packs the project and unpacks it into `folder`/node_modules/bfmig, without its dependencies: the library has none, and
 * so nothing is fetched. Returns the files of the package.
 */
export function installPackage(folder: string): string[] {
  const archive = pack.packProject(folder);
  const target = join(folder, "node_modules/bfmig");
  mkdirSync(target, { recursive: true });
  const options = ["-xzvf", archive, "-C", target, "--strip-components=1"];
  const { status, stdout, stderr } = spawnSync("tar", options, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot unpack ${archive}: ${stderr}`);
  writeFileSync(join(folder, "package.json"), '{"type": "module", "dependencies": {"bfmig": "*"}}\n');
  cpSync("dist/test/portable", join(folder, "portable"), { recursive: true });
  writeFileSync(
    join(folder, CHECKS_SCRIPT),
    `import * as api from "bfmig";
import { runPortableChecks } from "./portable/checks.js";
console.log(JSON.stringify(await runPortableChecks(api)));
`,
  );
  return stdout
    .trim()
    .split("\n")
    .map((path) => path.replace(/^package\//, ""));
}
