import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import t from "tap";
import { coreWasmBytes } from "../../src/core/module.ts";

const run = promisify(execFile);
const file = (name: string): Buffer => readFileSync(join("wasm-build", name));

t.test("a rebuild gives the committed files byte for byte", async () => {
  // Fails with the names of the files that differ.
  await run(process.execPath, ["wasm-build/build.mjs", "--check"]);
});

t.test("other options are refused", async (t) => {
  await t.rejects(run(process.execPath, ["wasm-build/build.mjs", "--chekc"]), { code: 2 });
});

t.test("the constant in base64 is core.wasm", async (t) => {
  t.equal(Buffer.compare(coreWasmBytes(), file("core.wasm")), 0);
});

t.test("the module imports nothing and says how arrays are bound", async (t) => {
  const module = await WebAssembly.compile(coreWasmBytes());
  t.same(WebAssembly.Module.imports(module), []);
  const [section] = WebAssembly.Module.customSections(module, "as-bind_bindings");
  const { exportedFunctions } = JSON.parse(new TextDecoder().decode(section));
  t.same(exportedFunctions.arrayDecompress, {
    returnType: "~lib/typedarray/Uint8Array",
    parameters: ["~lib/typedarray/Uint8Array", "i32"],
  });
});

t.test("the module and what loads it stay below 60 KiB when gzipped", async (t) => {
  const bytes = gzipSync(file("core.generated.ts")).length + gzipSync(file("as-bind.generated.ts")).length;
  t.ok(bytes < 60 * 1024, `${bytes} bytes`);
});
