/**
 * The gate that every change passes: lint, types, dead code, the package and its reference, reproducible WASM. Runs
 * all of them and names each; a failed one shows its output.
 *
 * The last line printed has the totals. With RESULTS_FILE set, `PASSED FAILED` is appended to that file.
 */
import { spawnSync } from "node:child_process";
import { appendFileSync } from "node:fs";
import { runScript } from "./failure.mjs";
import { root, toolEntry } from "./project.mjs";

const compiler = toolEntry("typescript", "bin/tsc");

const GATES = [
  {
    name: "lint and format (biome)",
    command: [toolEntry("@biomejs/biome", "bin/biome"), "check", "--error-on-warnings"],
  },
  { name: "types (tsc)", command: [compiler, "-p", "tsconfig.json", "--noEmit"] },
  { name: "portable types of src/ (tsc)", command: [compiler, "-p", "tsconfig.src.json"] },
  { name: "types of the page (tsc)", command: [compiler, "-p", "tsconfig.web.json"] },
  { name: "unused files, exports, dependencies (knip)", command: [toolEntry("knip", "bin/knip.js")] },
  { name: "package contents (publint)", command: [toolEntry("publint", "src/cli.js"), "--strict"] },
  { name: "types of the package (arethetypeswrong)", command: [".ci/package-types.mjs"] },
  {
    name: "reference of the package (typedoc)",
    command: [toolEntry("typedoc", "bin/typedoc"), "--options", ".ci/typedoc.json"],
  },
  { name: "WASM rebuilds to the same bytes", command: ["wasm-build/build.mjs", "--check"] },
  { name: "handover model (spin)", command: [".ci/model-check.mjs"] },
];

await runScript("check", () => {
  const failed = GATES.filter((gate) => !passes(gate)).length;
  const passed = GATES.length - failed;
  console.log(`check: ${passed} passed, ${failed} failed`);
  if (process.env.RESULTS_FILE) appendFileSync(process.env.RESULTS_FILE, `${passed} ${failed}\n`);
  if (failed > 0) process.exitCode = 1;
});

function passes({ name, command }) {
  const result = spawnSync(process.execPath, command, { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
  if (result.status === 0) {
    console.log(`ok      ${name}`);
    return true;
  }
  console.log(`FAILED  ${name}`);
  const output = `${result.stdout ?? ""}${result.stderr ?? ""}${result.error?.message ?? ""}`;
  console.log(output.trimEnd().replace(/^/gm, "        "));
  return false;
}
