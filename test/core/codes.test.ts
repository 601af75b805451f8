import t from "tap";
import { CoreCode, checkCoreResult } from "../../src/core/codes.ts";
import { compileCore } from "../../src/core/module.ts";
import { FormatError } from "../../src/errors.ts";

t.test("the codes here are the codes in the WASM core", async (t) => {
  const { exports } = await WebAssembly.instantiate(await compileCore());
  const inCore = Object.entries(exports)
    .filter(([name]) => name.startsWith("CODE_"))
    .map(([name, global]) => [name, (global as WebAssembly.Global).value]);
  const here = Object.entries(CoreCode).map(([name, value]) => [
    `CODE_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    value,
  ]);
  t.same(Object.fromEntries(inCore), Object.fromEntries(here));
});

t.test("lengths pass and every code becomes a FormatError that names the action", async (t) => {
  t.equal(checkCoreResult(0, "read"), 0);
  t.equal(checkCoreResult(4096, "read"), 4096);
  for (const value of Object.values(CoreCode)) {
    t.throws(() => checkCoreResult(value, "read the page", 12), {
      name: "FormatError",
      message: /^Cannot read the page: .* \(at byte 12\)$/,
      offset: 12,
    });
  }
  t.throws(() => checkCoreResult(-99, "read"), FormatError);
});
