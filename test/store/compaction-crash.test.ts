import { cpSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { maxChainDeltas, needsCompaction } from "../../cli/store/compaction.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { ModelStore } from "./model-store.ts";

t.test("a chain needs compaction when it has become long", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(maxChainDeltas);
  t.strictSame(chain.map(needsCompaction), [...new Array(maxChainDeltas).fill(false), true]);
});

t.test("a crash between any two steps of a compaction leaves every generation whole", async (t) => {
  const folder = t.testdir({ before: {}, after: {} });
  const before = await ModelStore.create(join(folder, "before"));
  await before.addChain(3);
  cpSync(join(folder, "before"), join(folder, "after"), { recursive: true });
  const after = await ModelStore.create(join(folder, "after"));
  await after.compact((await after.store.list()).generations[2]);

  const oldFiles = join(before.store.generationsPath, "3");
  const newFiles = join(after.store.generationsPath, "3");
  const states: Record<string, (at: string) => void> = {
    "the new image is half written": (at) => writeFileSync(join(at, ".partial-ram.img"), "half"),
    "the new image is in place": (at) => cpSync(join(newFiles, "ram.img"), join(at, "ram.img")),
    "the new manifest is half written": (at) => {
      cpSync(join(newFiles, "ram.img"), join(at, "ram.img"));
      writeFileSync(join(at, ".partial-manifest.json-1"), "{");
    },
    "the new manifest is in place, the delta is not yet gone": (at) => {
      cpSync(newFiles, at, { recursive: true });
      t.ok(existsSync(join(at, "delta")));
    },
  };
  for (const [what, apply] of Object.entries(states)) {
    const copy = join(folder, what.replaceAll(" ", "-"));
    cpSync(join(folder, "before"), copy, { recursive: true });
    apply(join(copy, "store", "web1", "generations", "3"));
    const model = await ModelStore.create(copy);
    const { generations, unusable } = await model.store.list();
    t.strictSame(unusable, [], what);
    for (const generation of generations) {
      const { generation: number } = generation.manifest;
      t.ok(
        Buffer.from(model.read(generation)).equals(before.memories.get(number) ?? Buffer.alloc(0)),
        `${what}: ${number}`,
      );
    }
    const report = await verifyPaths([copy]);
    t.strictSame(report.findings, [], `${what}: nothing for the verifier to find`);
    t.equal(report.vms[0].newestRestorable, 4);
    await model.store.sweep();
    t.notOk(readdirSync(join(model.store.generationsPath, "3")).some((name) => name.startsWith(".partial-")));
  }
  t.ok(existsSync(join(oldFiles, "delta")), "the original is as it was");
});
