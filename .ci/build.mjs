/**
 * Compiles the TypeScript under src/, cli/, test/ and wasm-build/ into dist/ and copies the files that the
 * program reads at run time beside it. `npm run build` runs it; set-up calls it when a source has changed.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Failure, runScript, say } from "./failure.mjs";
import { filesUnder, outputFolder, pageFolder, root, toolEntry } from "./project.mjs";

const COMPILED_FOLDERS = ["src", "cli", "test", "wasm-build"];
/** Folders whose other files (pages, assembler sources, core.wasm) are read at run time from beside the code. */
const ASSET_FOLDERS = ["cli", "test", "wasm-build"];
const SETTINGS = ["tsconfig.json", "package-lock.json", ".ci/build-page.mjs"];
/** Holds the digest of the sources that dist/ was built from. */
const STAMP = join(outputFolder, ".build-stamp");

/** Whether dist/ was built from the sources as they are now. */
export function buildIsCurrent() {
  return existsSync(STAMP) && readFileSync(STAMP, "utf8") === sourceDigest();
}

/** Builds dist/; throws a Failure if a source does not compile. */
export function build() {
  say("build", "compiling to dist/");
  const digest = sourceDigest();
  rmSync(STAMP, { force: true });
  removeStaleOutput();
  runStep([toolEntry("typescript", "bin/tsc"), "-p", "tsconfig.json"], "the compiler reported errors");
  for (const asset of ASSET_FOLDERS.flatMap(sourcesIn).filter(isAsset)) {
    const target = join(outputFolder, asset);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(join(root, asset), target);
  }
  runStep([join(root, ".ci", "build-page.mjs")], "the page could not be bundled");
  writeFileSync(STAMP, digest);
}

function runStep(args, problem) {
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Failure(`Cannot build: ${problem}, see above`);
}

/** Deletes what earlier sources left in dist/: the compiler never does, and a leftover test would still run. */
function removeStaleOutput() {
  for (const folder of COMPILED_FOLDERS) {
    for (const path of filesUnder(join(outputFolder, folder), outputFolder)) {
      const source = path.replace(/(\.d\.ts|\.js|\.js\.map)$/, ".ts");
      if (!existsSync(join(root, source))) rmSync(join(outputFolder, path));
    }
  }
}

function sourceDigest() {
  const hash = createHash("sha256");
  for (const path of [...SETTINGS, ...COMPILED_FOLDERS.flatMap(sourcesIn)]) {
    const content = readFileSync(join(root, path));
    hash.update(`${path}\0${content.length}\0`).update(content);
  }
  return hash.digest("hex");
}

function sourcesIn(folder) {
  return filesUnder(join(root, folder), root);
}

function isAsset(path) {
  return !/\.(ts|mjs)$/.test(path) && !path.startsWith(`${pageFolder}/`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await runScript("build", build);
