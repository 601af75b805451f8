import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";

t.test("an intact store has no findings, and every generation is restorable", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(3);
  const report = await verifyPaths([model.storePath]);
  t.strictSame(report.findings, []);
  t.strictSame(report.notes, []);
  t.equal(report.generations, 4);
  t.equal(report.vms[0].newestRestorable, 4);
  t.ok(report.vms[0].generations.every(({ intact, restorable }) => intact && restorable));
});

t.test("a flipped bit anywhere in any file of a generation is found", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, middle] = await model.addChain(2);
  const noise = noiseFrom(9);
  for (const folder of [join(model.store.generationsPath, "1"), middle.directory]) {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const bytes = readFileSync(path);
      const step = name === "ram.img" ? page / 2 + 61 : Math.max(1, Math.floor(bytes.length / 40));
      const missed: number[] = [];
      for (let at = noise() % step; at < bytes.length; at += step) {
        const damaged = Buffer.from(bytes);
        damaged[at] ^= 1 << (noise() & 7);
        writeFileSync(path, damaged);
        const { findings } = await verifyPaths([folder]);
        if (!findings.some((finding) => finding.path === path)) missed.push(at);
      }
      t.strictSame(missed, [], `${name} of ${folder.endsWith("1") ? "a full generation" : "a delta"}`);
      writeFileSync(path, bytes);
    }
  }
  t.strictSame((await verifyPaths([model.storePath])).findings, [], "and everything was put back");
});
