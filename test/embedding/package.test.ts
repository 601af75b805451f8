/** The package as it would be published: its exports, their types, and nothing that a Content Security Policy forbids. */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import t from "tap";
import ts from "typescript";
import { CHECKS_SCRIPT, installPackage } from "./package-folder.ts";
import { deno, newestNode, thisNode } from "./runtimes.ts";

const folder = t.testdir({});
const files = installPackage(folder);
const scripts = files.filter((path) => path.endsWith(".js"));
const installed = (path: string) => readFileSync(join(folder, "node_modules/bfmig", path));

t.test("the package has the library, its types, the module and the documents, but no tests", async (t) => {
  for (const path of ["dist/src/index.js", "dist/src/index.d.ts", "docs/EMBEDDING.md", "LICENSE"]) {
    t.ok(files.includes(path), path);
  }
  t.strictSame(
    files.filter((path) => path.includes("test/") || path.endsWith(".map")),
    [],
  );
  t.strictSame(installed("dist/wasm-build/core.wasm"), readFileSync("wasm-build/core.wasm"));
});

t.test("the paths that the package exports are there", async (t) => {
  const require = createRequire(join(folder, "probe.js"));
  t.match(require.resolve("bfmig/core.wasm"), /core\.wasm$/);
  t.equal(require("bfmig/package.json").name, "bfmig");
  t.throws(() => require.resolve("bfmig/dist/cli/main.js"), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" });
});

t.test("no shipped script makes code from text", async (t) => {
  t.ok(scripts.length > 100, `${scripts.length} scripts`);
  const found = scripts.flatMap((path) =>
    codeMakersIn(path, installed(path).toString()).map((what) => `${path}: ${what}`),
  );
  t.strictSame(found, []);
});

t.test("the search for such code finds every form of it", async (t) => {
  const source = `eval("1"); (0, eval)("1"); new Function("1"); Function("1"); globalThis.eval("1");
    setTimeout("1", 1); setInterval(\`1\`); const make = Function; [].constructor.constructor("1");`;
  t.equal(codeMakersIn("probe.js", source).length, 9);
  t.strictSame(codeMakersIn("probe.js", "setTimeout(() => {}, 1); x instanceof Uint8Array; medieval(1)"), []);
});

t.test("the package works where code from text is forbidden", async (t) => {
  for (const runtime of [thisNode, newestNode].map((node) =>
    node.with("--disallow-code-generation-from-strings"),
  )) {
    t.throws(() => {
      writeFileSync(join(folder, "eval.mjs"), 'eval("1")');
      runtime.run(folder, "eval.mjs");
    }, /EvalError/);
    t.strictSame(JSON.parse(runtime.run(folder, CHECKS_SCRIPT)).failures, []);
  }
});

const USE = `import { type Core, type CoreOptions, loadArrayCore, loadCore, openWindow, verifyGenerations } from "bfmig";
export async function use(options: CoreOptions): Promise<number> {
  const core: Core = await loadCore(options);
  const arrays = await loadArrayCore();
  const bytes: Uint8Array<ArrayBuffer> = arrays.blake3(openWindow(core, 4096).bytes());
  await verifyGenerations(core, [], { key: bytes });
  // @ts-expect-error: what the package gives is not "any"
  core.noSuchThing();
  return bytes.length;
}
`;

for (const [name, module, resolution] of [
  ["a bundler", ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler],
  ["Node", ts.ModuleKind.NodeNext, ts.ModuleResolutionKind.NodeNext],
] as const) {
  t.test(`the types are complete for who resolves modules as ${name} does`, async (t) => {
    const probe = join(folder, "use.ts");
    writeFileSync(probe, USE);
    const options: ts.CompilerOptions = {
      module,
      moduleResolution: resolution,
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2022.d.ts", "lib.dom.d.ts"],
      types: [],
      strict: true,
      // Those of the package are checked, those of the platform are not.
      skipDefaultLibCheck: true,
      noEmit: true,
    };
    t.strictSame(messagesOf(probe, options), []);
  });
}

t.test("Deno finds no fault with the types of the sources", async (t) => {
  t.doesNotThrow(() =>
    deno.with("--check", "--no-config").run(process.cwd(), "test/portable/from-source.ts"),
  );
});

function messagesOf(file: string, options: ts.CompilerOptions): string[] {
  const program = ts.createProgram([file], options);
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

/** Places in a script where code is made from text, or where what can do that is passed on. */
function codeMakersIn(path: string, source: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && (node.text === "eval" || node.text === "Function")) found.push(node.text);
    if (ts.isPropertyAccessExpression(node) && node.name.text === "constructor") {
      const { parent } = node;
      const isTwice = ts.isPropertyAccessExpression(parent) && parent.name.text === "constructor";
      if (isTwice) found.push("constructor.constructor");
    }
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
      const isTimer = /^set(Timeout|Interval)$/.test(node.expression.text);
      if (isTimer && node.arguments[0] !== undefined && ts.isStringLiteralLike(node.arguments[0])) {
        found.push(node.expression.text);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true));
  return found;
}
