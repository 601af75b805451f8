import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { compact } from "../../cli/store/compaction.ts";
import { ModelStore, page } from "./model-store.ts";

/** More pages than one step takes, most of them zero. */
const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 1200 * page }] as const;

async function sparseChain(folder: string): Promise<ModelStore> {
  const model = await ModelStore.create(folder, "web1", regions);
  const memory = new Uint8Array(model.memoryBytes);
  let base = await model.add(memory.fill(7, 300 * page, 310 * page));
  for (const at of [5, 305, 900]) {
    memory.fill(at & 0xff, at * page, (at + 2) * page);
    base = await model.add(memory, base);
  }
  return model;
}

t.test("a compacted image reads as the chain did, and has holes where the memory is zero", async (t) => {
  const model = await sparseChain(t.testdir());
  const { generations } = await model.store.list();
  const compacted = await compact(model.core, generations[3]);
  t.equal(compacted.below.length, 0);
  t.ok(Buffer.from(model.read(compacted)).equals(model.memories.get(4) ?? Buffer.alloc(0)));
  const { size, blocks } = statSync(join(compacted.directory, "ram.img"));
  t.equal(size, 1200 * page);
  t.ok(blocks * 512 <= 64 * page, `${blocks * 512} bytes of 4915200 are taken`);
});

t.test("a compaction that is not wanted any more ends at its next step and leaves nothing", async (t) => {
  const model = await sparseChain(t.testdir());
  const { generations } = await model.store.list();
  const before = readdirSync(generations[3].directory).sort();
  let steps = 0;
  const same = await compact(model.core, generations[3], () => ++steps < 3);
  t.equal(steps, 3);
  t.equal(same, generations[3]);
  t.strictSame(readdirSync(generations[3].directory).sort(), before);
  const again = await model.store.list();
  t.strictSame(again.unusable, []);
  t.ok(Buffer.from(model.read(again.generations[3])).equals(model.memories.get(4) ?? Buffer.alloc(0)));
});
