/** Packs the project as it would be published and has arethetypeswrong look at the types of each entry. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure, runScript } from "./failure.mjs";
import { packProject } from "./pack.mjs";
import { root, toolEntry } from "./project.mjs";

const CHECKER = toolEntry("@arethetypeswrong/cli", "dist/index.js");
/** Without a look at the registry for types that somebody else publishes; core.wasm has none. */
const OPTIONS =
  "--profile esm-only --no-definitely-typed --exclude-entrypoints ./core.wasm --no-emoji --no-color".split(
    " ",
  );

await runScript("package-types", () => {
  const folder = mkdtempSync(join(tmpdir(), "bfmig-pack-"));
  try {
    const archive = packProject(folder);
    const result = spawnSync(process.execPath, [CHECKER, archive, ...OPTIONS], {
      cwd: root,
      stdio: "inherit",
    });
    if (result.status !== 0) throw new Failure("Correct the types of the package: see above");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
