/** The compiler and the linter, not good intentions, keep src/ portable: these tests see them refuse. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import ts from "typescript";
import { projectRoot } from "./project-files.ts";

t.test("the compiler refuses what only Node has in src/", async (t) => {
  const messages = compileInSrc(
    [
      'import { readFileSync } from "node:fs";',
      "export const a = Buffer.from([1]);",
      "export const b = process.argv;",
      "export const c = global;",
      "export const d = setImmediate;",
      "export const e = readFileSync;",
    ].join("\n"),
  );
  for (const name of ["Buffer", "process", "global", "setImmediate", "node:fs"]) {
    t.ok(
      messages.some((message) => message.includes(`'${name}'`)),
      `${name} is refused`,
    );
  }
});

t.test("the compiler accepts what Node, Deno and browsers share in src/", async (t) => {
  const source = "export const text = new TextEncoder().encode(String(performance.now()));";
  t.strictSame(compileInSrc(source), []);
});

const LINTED = [
  { path: "src/probe.ts", source: 'export * from "../cli/errors.ts";', rule: "noRestrictedImports" },
  { path: "src/probe.ts", source: 'export * from "../test/probe.ts";', rule: "noRestrictedImports" },
  { path: "src/deep/probe.ts", source: 'export * from "../../assembly/a.ts";', rule: "noRestrictedImports" },
  { path: "src/probe.ts", source: 'export * from "ws";', rule: "noRestrictedImports" },
  { path: "src/probe.ts", source: 'export * from "node:fs";', rule: "noNodejsModules" },
  { path: "src/probe.ts", source: "export const a = Buffer.from([1]);", rule: "noRestrictedGlobals" },
  { path: "src/probe.ts", source: "export const a = process.argv;", rule: "noRestrictedGlobals" },
  { path: "src/probe.ts", source: 'console.log("a");', rule: "noConsole" },
  { path: "cli/probe.ts", source: 'export * from "../test/probe.ts";', rule: "noRestrictedImports" },
  { path: "cli/wan/probe.ts", source: 'export * from "../../assembly/a.ts";', rule: "noRestrictedImports" },
  { path: "cli/probe.ts", source: 'export * from "../wasm-build/a.ts";', rule: "noRestrictedImports" },
  { path: "assembly/probe.ts", source: 'export * from "../src/probe.ts";', rule: "noRestrictedImports" },
];

t.test("the linter refuses imports against the direction and Node's globals", async (t) => {
  const folder = lintFolder(t);
  for (const { path, source, rule } of LINTED) {
    t.match(lint(folder, path, source), `/${rule}`, `${path}: ${source}`);
  }
});

t.test("the linter accepts imports along the direction", async (t) => {
  const folder = lintFolder(t);
  for (const [path, source] of [
    ["src/probe.ts", 'export * from "../wasm-build/core.generated.ts";\n'],
    ["cli/probe.ts", 'export * from "ws";\n'],
    ["cli/wan/probe.ts", 'export * from "../../src/errors.ts";\n'],
    ["assembly/probe.ts", 'export * from "./compare";\n'],
  ] as const) {
    t.notMatch(lint(folder, path, source), "lint/", `${path}: ${source.trim()}`);
  }
});

/** What the compiler says about a file in src/ with this text, under the settings for src/. */
function compileInSrc(source: string): string[] {
  const settings = ts.readConfigFile("tsconfig.src.json", ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(settings.config, ts.sys, projectRoot);
  const probe = join(projectRoot, "src", "portability-probe.ts");
  const host = ts.createCompilerHost(options);
  const { fileExists, getSourceFile } = host;
  host.fileExists = (name) => name === probe || fileExists(name);
  host.getSourceFile = (name, version) =>
    name === probe ? ts.createSourceFile(name, source, version) : getSourceFile(name, version);
  const program = ts.createProgram([probe], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

/** A folder under the linter's settings for this project. */
function lintFolder(t: Test): string {
  const folder = t.testdir({});
  copyFileSync("biome.json", join(folder, "biome.json"));
  copyFileSync(".gitignore", join(folder, ".gitignore"));
  return folder;
}

/** What the linter says about `path` with this text. */
function lint(folder: string, path: string, source: string): string {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), source);
  const linter = join(projectRoot, "node_modules/@biomejs/biome/bin/biome");
  const args = [linter, "lint", "--colors=off", path];
  const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  return stdout + stderr;
}
