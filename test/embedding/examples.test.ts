/** Runs the examples of docs/EMBEDDING.md against the package as it would be published. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import * as api from "../../src/index.ts";
import { makeSmallChain } from "../portable/small-generation.ts";
import { exampleNamed, exampleNames, outputOf } from "./examples.ts";
import { installPackage } from "./package-folder.ts";
import { allRuntimes, deno, newestNode, type Runtime, thisNode } from "./runtimes.ts";

/** Which runtimes an example is for; those of the browser are run by the browser's tests. */
const RUN_BY: Record<string, readonly Runtime[]> = {
  "arrays.mjs": allRuntimes,
  "batch.mjs": allRuntimes,
  "stream.mjs": allRuntimes,
  "delta.mjs": allRuntimes,
  "node.mjs": [thisNode, newestNode],
  "deno.ts": [deno],
};
const OF_THE_BROWSER = ["browser.html", "browser.mjs", "content-security-policy"];
/** Examples that verify generations; the others take no arguments. */
const VERIFYING = ["node.mjs", "deno.ts"];
const FILES = ["web1.key", "generations/1", "generations/2"];

const folder = t.testdir({});
installPackage(folder);
await writeGenerations(folder);
for (const name of Object.keys(RUN_BY)) writeFileSync(join(folder, name), exampleNamed(name));

t.test("every example is run by a test", async (t) => {
  t.strictSame(exampleNames().sort(), [...Object.keys(RUN_BY), ...OF_THE_BROWSER].sort());
});

for (const [name, runtimes] of Object.entries(RUN_BY)) {
  for (const runtime of runtimes) {
    t.test(`${name} prints under ${runtime.name} what the document says`, async (t) => {
      const printed = runtime.run(folder, name, ...(VERIFYING.includes(name) ? FILES : []));
      t.equal(printed, outputOf(name));
    });
  }
}

t.test("the verifying examples say what is wrong", async (t) => {
  for (const [name, runtime] of [
    ["node.mjs", thisNode],
    ["deno.ts", deno],
  ] as const) {
    const printed = runtime.run(folder, name, "web1.key", "generations/2");
    t.match(printed, "generations/2: damaged, lost\n", `${name}: its base was not given`);
    t.match(printed, /^generations\/2.*: /m);
  }
});

/** Writes the generations and the key that the verifying examples are given. */
async function writeGenerations(folder: string): Promise<void> {
  const { key, generations } = await makeSmallChain(api);
  writeFileSync(join(folder, "web1.key"), `${api.toHex(key)}\n`);
  for (const { name, files } of generations) {
    mkdirSync(join(folder, "generations", name), { recursive: true });
    for (const [file, bytes] of files) writeFileSync(join(folder, "generations", name, file), bytes);
  }
}
