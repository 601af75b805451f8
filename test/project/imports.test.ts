import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { posix } from "node:path";
import t from "tap";
import ts from "typescript";
import { projectFiles } from "./project-files.ts";

/** For each folder of code: the folders that its files may import from, and whether they may use packages. */
const RULES = {
  assembly: { folders: ["assembly"], packages: false },
  "wasm-build": { folders: ["wasm-build"], packages: false },
  src: { folders: ["src", "wasm-build"], packages: false },
  cli: { folders: ["cli", "src"], packages: true },
};

type Layer = keyof typeof RULES;

for (const layer of Object.keys(RULES) as Layer[]) {
  t.test(`${layer}/ imports only what the layout allows`, async (t) => {
    const files = projectFiles(layer).filter((path) => path.endsWith(".ts"));
    t.ok(files.length > 0, "there are files to look at");
    t.strictSame(
      files.flatMap((file) => forbiddenImports(layer, file, readFileSync(file, "utf8"))),
      [],
    );
  });
}

t.test("the scan sees every form of import", async (t) => {
  const source = [
    'import a from "../cli/a.ts";',
    'import type { B } from "../cli/b.ts";',
    'import "../cli/c.ts";',
    'export * from "../cli/d.ts";',
    'export { e } from "../cli/e.ts";',
    'const f = await import("../cli/f.ts");',
    'import { readFileSync } from "node:fs";',
    'import os from "os";',
    'import WebSocket from "ws";',
    'import good from "./good.ts";',
    'import core from "../wasm-build/core.generated.ts";',
  ].join("\n");
  t.strictSame(forbiddenImports("src", "src/probe.ts", source), [
    "src/probe.ts -> ../cli/a.ts",
    "src/probe.ts -> ../cli/b.ts",
    "src/probe.ts -> ../cli/c.ts",
    "src/probe.ts -> ../cli/d.ts",
    "src/probe.ts -> ../cli/e.ts",
    "src/probe.ts -> ../cli/f.ts",
    "src/probe.ts -> node:fs",
    "src/probe.ts -> os",
    "src/probe.ts -> ws",
  ]);
});

t.test("cli/ may import packages and Node, but neither tests nor the core's sources", async (t) => {
  const source = [
    'import WebSocket from "ws";',
    'import { join } from "node:path";',
    'import { probe } from "../../src/probe.ts";',
    'import { fixture } from "../../test/fixture.ts";',
    'import { compare } from "../../assembly/compare.ts";',
  ].join("\n");
  t.strictSame(forbiddenImports("cli", "cli/wan/probe.ts", source), [
    "cli/wan/probe.ts -> ../../test/fixture.ts",
    "cli/wan/probe.ts -> ../../assembly/compare.ts",
  ]);
});

t.test("Node's own modules carry the node: prefix wherever they are imported", async (t) => {
  const bare = ["cli", "test"]
    .flatMap((folder) => projectFiles(folder))
    .filter((path) => path.endsWith(".ts"))
    .flatMap((file) => specifiersIn(readFileSync(file, "utf8")).map((specifier) => `${file} -> ${specifier}`))
    .filter((line) => {
      const specifier = line.slice(line.lastIndexOf(" ") + 1);
      return isBuiltin(specifier) && !specifier.startsWith("node:");
    });
  t.strictSame(bare, []);
});

function forbiddenImports(layer: Layer, file: string, source: string): string[] {
  return specifiersIn(source)
    .filter((specifier) => !isAllowed(layer, file, specifier))
    .map((specifier) => `${file} -> ${specifier}`);
}

function isAllowed(layer: Layer, file: string, specifier: string): boolean {
  const { folders, packages } = RULES[layer];
  if (!specifier.startsWith(".")) return packages;
  const folder = posix.join(posix.dirname(file), specifier).split("/")[0];
  return folder !== undefined && folders.includes(folder);
}

/** The module names in import, export … from and import() of a source text, in order. */
function specifiersIn(source: string): string[] {
  return ts.preProcessFile(source).importedFiles.map(({ fileName }) => fileName);
}
