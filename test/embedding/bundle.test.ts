/** What a bundler makes of the package: small uses stay small, nothing of Node is in it, and the core fits its budget. */
import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { gzipSync } from "node:zlib";
import { build, type Metafile } from "esbuild";
import t from "tap";
import { installPackage } from "./package-folder.ts";

const BUDGET_BYTES = 60 * 1024;

const folder = t.testdir({});
installPackage(folder);

/** Bundles a module that imports the package, for browsers, and says which of the package's files are in it. */
async function bundle(source: string): Promise<{ text: string; files: string[]; metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: source, resolveDir: folder },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    write: false,
    metafile: true,
    logLevel: "silent",
  });
  const [output] = Object.values(metafile.outputs);
  const files = Object.entries(output!.inputs)
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => path.replace(/^.*node_modules\/bfmig\/dist\//, ""))
    .filter((path) => path !== "<stdin>");
  return { text: outputFiles[0]!.text, files, metafile };
}

const used = (names: string) => `import { ${names} } from "bfmig"; console.log(${names});`;

/** The files that a bundle of the core alone may have. */
const CORE_FILES = /^(src\/core\.js|src\/core\/.*|src\/errors\.js|wasm-build\/core\.generated\.js)$/;

t.test("a bundle that loads the core has neither the verifier nor the decoders", async (t) => {
  const { files } = await bundle(used("loadCore"));
  t.ok(files.includes("wasm-build/core.generated.js"), "the module is in it");
  t.strictSame(
    files.filter((path) => !CORE_FILES.test(path) || path.startsWith("src/core/arr")),
    [],
  );
});

t.test("a bundle that decodes QEMU's stream has no core", async (t) => {
  const { files } = await bundle(used("QemuStreamDecoder"));
  t.strictSame(
    files.filter((path) => !/^src\/(qemu-stream\/.*|errors\.js)$/.test(path)),
    [],
  );
});

t.test("a bundle that uses nothing has nothing of the package", async (t) => {
  const { files } = await bundle('import "bfmig"; import { loadCore } from "bfmig"; console.log(1);');
  t.strictSame(files, []);
});

t.test("the verifier is in a bundle that uses it", async (t) => {
  const { files } = await bundle(used("verifyGenerations"));
  t.ok(files.some((path) => path.startsWith("src/verify/")));
});

t.test("nothing that the package exports leads to a module of Node or of another package", async (t) => {
  const { metafile } = await bundle('export * from "bfmig";');
  const inputs = Object.entries(metafile.inputs).filter(([path]) => path !== "<stdin>");
  t.ok(inputs.length > 30, `${inputs.length} files`);
  const foreign = inputs.flatMap(([path, { imports }]) => [
    ...(path.includes("node_modules/bfmig/dist/src/") || path.includes("node_modules/bfmig/dist/wasm-build/")
      ? []
      : [path]),
    ...imports
      .filter(({ external, path: to }) => external === true || isBuiltin(to))
      .map(({ path: to }) => to),
  ]);
  t.strictSame(foreign, []);
});

t.test(
  "the module and all that loads it stay below 60 KiB, and EMBEDDING.md says how much it is",
  async (t) => {
    const names =
      "loadCore, loadArrayCore, compileCore, openWindow, digestPageBatch, markChangedPages, markZeroPages, " +
      "diffPageBatch, applyPageBatch, compressPageBatch, decompressPageBatch";
    const { text } = await bundle(used(names));
    const bytes = gzipSync(text, { level: 9 }).length;
    t.comment(`${bytes} bytes gzipped, ${text.length} minified`);
    t.ok(bytes < BUDGET_BYTES, `${bytes} bytes`);
    const [, stated] =
      /take (\d+) KiB minified and gzipped/.exec(readFileSync("docs/EMBEDDING.md", "utf8")) ?? [];
    t.equal(Number(stated), Math.ceil(bytes / 1024), "KiB in EMBEDDING.md");
  },
);
