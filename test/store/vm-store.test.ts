import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { diskBytesOf } from "../../cli/store/vm-store.ts";
import { addImage, addOverlay, diskOf } from "./model-disks.ts";
import { firstMemory, ModelStore, page } from "./model-store.ts";

t.test(
  "folders that are no usable generation are listed with the reason, and the rest is usable",
  async (t) => {
    const model = await ModelStore.create(t.testdir());
    await model.addChain(2);
    const at = (name: string) => join(model.store.generationsPath, name);
    cpSync(at("1"), at("7"), { recursive: true });
    mkdirSync(at("8"));
    mkdirSync(at(".partial-leg"));
    rmSync(at("2/manifest.json"));
    const { generations, unusable } = await model.store.list();
    t.strictSame(
      generations.map(({ manifest }) => manifest.generation),
      [1],
    );
    t.strictSame(unusable.map(({ directory }) => directory).sort(), [at("2"), at("3"), at("7"), at("8")]);
    t.match(
      unusable.find(({ directory }) => directory === at("3")),
      { reason: /base, generation 2, is not here/ },
    );
    t.match(
      unusable.find(({ directory }) => directory === at("7")),
      { reason: /of generation 1 of web1/ },
    );
  },
);

t.test("a generation of another VM is not usable", async (t) => {
  const folder = t.testdir();
  const model = await ModelStore.create(folder);
  await model.addChain(0);
  const other = await ModelStore.create(folder, "web2");
  cpSync(model.store.path, other.store.path, { recursive: true });
  t.match(await other.store.list(), { generations: [], unusable: [{ reason: /web1/ }] });
});

t.test("a generation is found by number and root", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const { root } = first.manifest;
  t.ok(await model.store.find({ generation: 1, root }));
  t.equal(await model.store.find({ generation: 1, root: "00".repeat(32) }), null);
  t.equal(await model.store.find({ generation: 2, root }), null);
});

t.test("removing puts a generation out of force before its files go", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(1);
  await model.store.remove(2);
  await model.store.remove(2);
  t.strictSame(readdirSync(model.store.generationsPath), ["1"]);
  // What a crash after the first step leaves.
  renameSync(join(model.store.generationsPath, "1"), join(model.store.generationsPath, ".partial-removed-1"));
  t.strictSame(await model.store.list(), { generations: [], unusable: [] });
});

t.test("a sweep removes what was never completed and nothing else", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(1);
  const { generationsPath, path } = model.store;
  mkdirSync(join(generationsPath, ".partial-leg"));
  writeFileSync(join(generationsPath, ".partial-leg", "ram.img"), "x");
  writeFileSync(join(path, ".partial-ownership-1"), "x");
  writeFileSync(join(generationsPath, "1", ".partial-ram.img"), "x");
  t.equal(await model.store.sweep(), 3);
  t.equal(await model.store.sweep(), 0);
  t.strictSame((await model.store.list()).generations.length, 2);
  t.strictSame(readdirSync(path).sort(), ["generations", "images"]);
});

t.test("images that a generation names stay in a sweep, also one that was set aside", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { store } = model;
  const memory = firstMemory(model.memoryBytes);
  const content = new Uint8Array(3 * page).fill(1);
  const [one, two, unnamed] = await Promise.all([1, 2, 3].map(() => addImage(model, "root", content)));
  const first = await model.add(memory, null, "device", [await diskOf(model, one)]);
  await model.add(memory, null, "device", [await diskOf(model, two)]);
  t.strictSame(await store.namedImages(), new Set([one.image.id, two.image.id]));
  renameSync(first.directory, join(store.generationsPath, "damaged-1-123"));
  t.equal(await store.sweep(), 3);
  const left = await store.images.list();
  t.ok(left.has(one.image.id) && left.has(two.image.id) && !left.has(unnamed.image.id));
});

t.test("while a manifest cannot be read no image is removed", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { store } = model;
  const image = await addImage(model, "root", new Uint8Array(3 * page).fill(1));
  const named = [await diskOf(model, image)];
  const { directory } = await model.add(firstMemory(model.memoryBytes), null, "device", named);
  const path = join(directory, "manifest.json");
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.subarray(1));
  t.equal(await store.namedImages(), null);
  t.equal(await store.sweepImages(), 0);
  writeFileSync(path, bytes);
  t.equal(await store.sweepImages(), 0);
  await store.remove(1);
  t.equal(await store.sweepImages(), 3);
});

t.test("the size of a generation has its own images in it, not those under them", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { store } = model;
  const base = await addImage(model, "root", new Uint8Array(200 * page).fill(1));
  const top = await addOverlay(model, base, new Map([[1, "data"]]), 1);
  const memory = firstMemory(model.memoryBytes);
  const plain = await model.add(memory);
  const full = await model.add(memory, null, "device", [await diskOf(model, base)]);
  const small = await model.add(memory, null, "device", [await diskOf(model, top)]);
  const [without, onBase, onTop] = await Promise.all(
    [plain, full, small].map((one) => diskBytesOf(store, one)),
  );
  t.ok(onBase - without >= 200 * page);
  t.ok(onTop > without && onTop - without < 40 * page);
});
