/** The other runtimes are what set-up pins, and newer than the Node that runs the tests. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { deno, newestNode, thisNode } from "./runtimes.ts";

const { optionalDependencies } = JSON.parse(readFileSync(".ci/runtimes/package.json", "utf8")) as {
  optionalDependencies: Record<string, string>;
};
const folder = t.testdir({});
writeFileSync(join(folder, "node.mjs"), "console.log(process.versions.node)");
writeFileSync(join(folder, "deno.mjs"), "console.log(Deno.version.deno)");

t.test("the newest Node has the pinned version, and is newer than this one", async (t) => {
  const version = newestNode.run(folder, "node.mjs").trim();
  t.equal(version, optionalDependencies[`node-linux-${process.arch}`]);
  t.ok(Number.parseInt(version, 10) >= Number.parseInt(thisNode.run(folder, "node.mjs"), 10));
});

t.test("Deno has the pinned version", async (t) => {
  const version = deno.run(folder, "deno.mjs").trim();
  t.equal(version, optionalDependencies[`@deno/linux-${process.arch}-glibc`]);
});

t.test("what a script throws is told", async (t) => {
  writeFileSync(join(folder, "bad.mjs"), 'throw new Error("on purpose")');
  for (const runtime of [thisNode, newestNode, deno]) {
    t.throws(() => runtime.run(folder, "bad.mjs"), /on purpose/, runtime.name);
  }
});
