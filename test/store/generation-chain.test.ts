import { existsSync, readdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  GenerationContent,
  imagePathOf,
  readDeviceState,
  readDigests,
} from "../../cli/store/generation-reader.ts";
import { beginGeneration } from "../../cli/store/generation-writer.ts";
import { diskBytesOf } from "../../cli/store/vm-store.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { firstMemory, ModelStore, nextMemory, page } from "./model-store.ts";
import { endsAs } from "./operation-errors.ts";

t.test("a chain of three deltas reads as the naive twin has every generation", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(3);
  const { generations, unusable } = await model.store.list();
  t.strictSame(unusable, []);
  t.strictSame(
    generations.map(({ manifest }) => manifest.generation),
    [1, 2, 3, 4],
  );
  for (const [i, generation] of generations.entries()) {
    t.equal(generation.below.length, i);
    t.equal(imagePathOf(generation), join(chain[0].directory, "ram.img"));
    t.ok(
      Buffer.from(model.read(generation)).equals(model.memories.get(i + 1) ?? Buffer.alloc(0)),
      `generation ${i + 1}`,
    );
    t.equal(
      new TextDecoder().decode(await readDeviceState(model.core, generation)),
      i === 0 ? "device" : `device ${i}`,
    );
    t.equal((await readDigests(generation)).length, model.geometry.totalPages * 16);
    t.ok((await diskBytesOf(model.store, generation)) > 0);
  }
});

t.test("pages above the image are those that any delta of the chain has", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, ...deltas] = await model.addChain(2);
  const newest = deltas[1];
  const content = new GenerationContent(model.core, newest);
  const above = [...content.pagesAboveImage()];
  content.close();
  t.strictSame(
    above,
    [...above].sort((a, b) => a - b),
  );
  const [before, after] = [model.memories.get(1), model.memories.get(3)] as [Uint8Array, Uint8Array];
  for (let i = 0; i < model.geometry.totalPages; i++) {
    const changed = !Buffer.from(before.subarray(i * page, (i + 1) * page)).equals(
      after.subarray(i * page, (i + 1) * page),
    );
    if (changed && !above.includes(i)) t.fail(`page ${i} is missing`);
  }
  const bottom = new GenerationContent(model.core, first);
  t.strictSame([...bottom.pagesAboveImage()], []);
  bottom.close();
});

t.test("a generation is not there before it is committed, and gone when discarded", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const target = { vm: model.vm, generation: 1, legId: "x" };
  const writer = beginGeneration(model.core, model.store.generationsPath, target, model.geometry, null);
  t.ok(existsSync(writer.imagePath));
  t.strictSame(await model.store.list(), { generations: [], unusable: [] });
  await writer.discard();
  await writer.discard();
  t.strictSame(readdirSync(model.store.generationsPath), []);
});

t.test("a number that is taken is refused at the beginning, not at the commit", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(0);
  const target = { vm: model.vm, generation: 1, legId: "x" };
  t.throws(
    () => beginGeneration(model.core, model.store.generationsPath, target, model.geometry, null),
    /already there/,
  );
  t.strictSame(readdirSync(model.store.generationsPath), ["1"]);
});

t.test("a generation without any change is whole", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const memory = firstMemory(model.memoryBytes);
  const first = await model.add(memory);
  const second = await model.add(memory, first);
  t.equal(second.manifest.root, first.manifest.root, "the same state has the same root");
  t.ok(Buffer.from(model.read(second)).equals(memory));
  t.strictSame((await verifyPaths([model.storePath])).findings, []);
});

t.test("compaction keeps the content, and what stands on it stays readable", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(3);
  const compacted = await model.compact(chain[2]);
  t.strictSame(compacted.below, []);
  t.equal(compacted.manifest.root, chain[2].manifest.root);
  t.notOk(existsSync(join(compacted.directory, "delta")));
  t.equal(imagePathOf(compacted), join(compacted.directory, "ram.img"));
  const { generations } = await model.store.list();
  t.strictSame(
    generations.map(({ below }) => below.length),
    [0, 1, 0, 1],
  );
  for (const generation of generations) {
    const { generation: number } = generation.manifest;
    t.ok(
      Buffer.from(model.read(generation)).equals(model.memories.get(number) ?? Buffer.alloc(0)),
      `generation ${number}`,
    );
  }
  t.equal(await model.compact(compacted), compacted, "and once is enough");
  t.strictSame((await verifyPaths([model.storePath])).findings, []);
});

t.test("images and digests of another length, and a delta without a trailer, are refused", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  truncateSync(join(first.directory, "digests"), 16);
  await t.rejects(readDigests(first), endsAs("failed"));
  truncateSync(join(second.directory, "delta"), 300);
  t.throws(() => model.read(second));
  writeFileSync(join(second.directory, "delta"), "");
  t.throws(() => model.read(second), { message: /no valid trailer/ });
  truncateSync(join(first.directory, "ram.img"), page);
  t.throws(() => model.read(first), { message: /expected/ });
});

t.test("a memory of only zeroes makes a generation that takes hardly any disk", async (t) => {
  const model = await ModelStore.create(t.testdir(), "web1", [
    { name: "pc.ram", kind: "ram", lengthBytes: 4096 * page },
  ]);
  const generation = await model.add(new Uint8Array(4096 * page));
  t.ok((await diskBytesOf(model.store, generation)) < 1 << 20);
  const next = nextMemory(new Uint8Array(4096 * page), 1);
  t.ok(Buffer.from(model.read(await model.add(next, generation))).equals(next));
});
