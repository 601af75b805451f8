import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { Failure } from "./failure.mjs";
import { root } from "./project.mjs";

/** Packs dist/ as it is into `folder`, as `npm publish` would, and returns the archive's path. */
export function packProject(folder) {
  // Without scripts: `prepack` would build again under the feet of whoever runs the tests.
  const options = ["--ignore-scripts", "--json", "--pack-destination", folder];
  const result = spawnSync("npm", ["pack", ...options], { cwd: root, encoding: "utf8" });
  if (result.error) throw new Failure(`Cannot run npm: ${result.error.message}`);
  if (result.status !== 0) throw new Failure(`Cannot pack the project: ${result.stderr}`);
  return join(folder, archiveNameIn(JSON.parse(result.stdout)));
}

/** npm 12 lists archives by the package's name, earlier ones in an array. */
function archiveNameIn(listing) {
  return Object.values(listing)[0].filename;
}
