/**
 * Builds the page that verifies in a browser: bundles its scripts and its style sheet into dist/web/verify-page/, which
 * then has all that a static server needs. The same sources give the same bytes. Types are checked by the gate, not here.
 *
 *   node .ci/build-page.mjs
 */
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { runScript } from "./failure.mjs";
import { outputFolder, pageFolder, root } from "./project.mjs";

const target = join(outputFolder, "web", "verify-page");

await runScript("build", async () => {
  rmSync(target, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: ["page.ts", "worker.ts", "hash-worker.ts", "style.css"].map(
      (name) => `${pageFolder}/${name}`,
    ),
    outdir: target,
    bundle: true,
    minify: true,
    format: "esm",
    target: ["es2022", "chrome105", "firefox121", "safari16.4"],
    charset: "utf8",
    legalComments: "none",
    logLevel: "warning",
  });
  copyFileSync(join(root, pageFolder, "index.html"), join(target, "index.html"));
});
