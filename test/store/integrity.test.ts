import { existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { IntegrityLedger } from "../../cli/store/integrity.ts";
import { addImage, addOverlay, diskOf, type ModelImage } from "./model-disks.ts";
import { firstMemory, ModelStore, nextMemory, noiseFrom, page } from "./model-store.ts";

/** Changes one bit of a file behind the store's back, and keeps its times. */
function flipBit({ directory }: StoredGeneration, name: string, at: number): void {
  const path = join(directory, name);
  const bytes = readFileSync(path);
  bytes[at] ^= 0x10;
  writeFileSync(path, bytes);
}

const numbersIn = async (model: ModelStore) =>
  (await model.store.list()).generations.map(({ manifest }) => manifest.generation);
const foldersIn = (model: ModelStore) => readdirSync(model.store.generationsPath).sort();

/** Counts checks by what is read of the core: an untouched generation costs no hash. */
function countHashes(model: ModelStore): { count: number } {
  const counter = { count: 0 };
  const { core } = model;
  const blake3 = core.blake3.bind(core);
  core.blake3 = (...args: Parameters<typeof blake3>) => {
    counter.count++;
    return blake3(...args);
  };
  return counter;
}

t.test("what was never checked is checked once, and taken for intact while it is untouched", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [, second] = await model.addChain(1);
  const ledger = new IntegrityLedger(model.store);
  t.notOk(await ledger.isUntouched(second));
  t.equal(await ledger.ensure(model.core, model.key, second), null);
  t.ok(await ledger.isUntouched(second));
  t.ok(
    await new IntegrityLedger(model.store).isUntouched(second),
    "another agent on this store knows it too",
  );
  const hashes = countHashes(model);
  t.equal(await ledger.ensure(model.core, model.key, second), null);
  t.equal(hashes.count, 0, "nothing was hashed");
});

t.test("a file that was touched is checked again, and stays when it is as it was", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const ledger = new IntegrityLedger(model.store);
  await ledger.record(second);
  const touched: [StoredGeneration, string][] = [
    [second, "ram.img"],
    [second, "device"],
    [second, "digests"],
    [second, "delta"],
    [first, "ram.img"],
  ];
  const hashes = countHashes(model);
  for (const [generation, name] of touched) {
    utimesSync(join(generation.directory, name), 1, 1);
    t.notOk(await ledger.isUntouched(second), name);
    hashes.count = 0;
    t.equal(await ledger.ensure(model.core, model.key, second), null);
    t.ok(hashes.count > 0, `checked after ${name} was touched`);
    t.ok(await ledger.isUntouched(second));
  }
  t.strictSame(foldersIn(model), ["1", "2"]);
});

t.test(
  "what was altered is set aside, is never listed again, and its content stays to be looked at",
  async (t) => {
    const folder = t.testdir();
    const altered: [string, (model: ModelStore) => number, RegExp][] = [
      ["ram.img", () => 9 * page + 77, /page 9 of its memory is not what was committed/],
      ["ram.img", (model) => model.memoryBytes - 1, /page 46 of its memory/],
      ["digests", () => 5, /its digests do not have its root/],
      ["device", () => 20, /./],
    ];
    for (const [i, [name, place, problem]] of altered.entries()) {
      const model = await ModelStore.create(join(folder, String(i)));
      const [first] = await model.addChain(0);
      const ledger = new IntegrityLedger(model.store);
      await ledger.record(first);
      flipBit(first, name, place(model));
      t.match(await ledger.ensure(model.core, model.key, first), problem, name);
      t.strictSame(await numbersIn(model), []);
      const [aside, ...others] = foldersIn(model);
      t.match(aside, /^damaged-1-\d+$/);
      t.strictSame(others, []);
      t.ok(existsSync(join(model.store.generationsPath, aside, "ram.img")));
      t.equal(await model.store.sweep(), 0, "no sweep removes it");
      const again = await model.add(model.memories.get(1) as Uint8Array);
      t.equal(again.manifest.generation, 1, "its number is free");
      t.equal(await ledger.ensure(model.core, model.key, again), null);
      t.strictSame(await numbersIn(model), [1]);
    }
  },
);

t.test("every flipped bit of the device state's file is found", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const ledger = new IntegrityLedger(model.store);
  let [generation] = await model.addChain(0);
  const bytes = readFileSync(join(generation.directory, "device")).length;
  for (let at = 0; at < bytes; at += 3) {
    flipBit(generation, "device", at);
    const problem = await ledger.ensure(model.core, model.key, generation);
    if (problem === null) t.fail(`byte ${at}`);
    generation = await model.add(model.memories.get(1) as Uint8Array);
  }
  t.pass(`${bytes} bytes`);
});

t.test("a generation whose base is damaged is set aside, the base when it is looked at itself", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const ledger = new IntegrityLedger(model.store);
  await ledger.record(first);
  await ledger.record(second);
  const untouched = [...Array(model.geometry.totalPages).keys()].find((number) => {
    const at = number * page;
    const [one, two] = [1, 2].map((n) => (model.memories.get(n) as Uint8Array).subarray(at, at + page));
    return Buffer.from(one).equals(two) && one.some((byte) => byte !== 0);
  }) as number;
  flipBit(first, "ram.img", untouched * page);
  t.match(await ledger.ensure(model.core, model.key, second), new RegExp(`page ${untouched} of its memory`));
  t.strictSame(await numbersIn(model), [1]);
  t.match(await ledger.ensure(model.core, model.key, first), new RegExp(`page ${untouched} of its memory`));
  t.strictSame(await numbersIn(model), []);
});

t.test("a file that is missing is damage, not an error of the caller", async (t) => {
  const folder = t.testdir();
  for (const name of ["ram.img", "digests", "device", "delta"]) {
    const model = await ModelStore.create(join(folder, name));
    const [, second] = await model.addChain(1);
    const ledger = new IntegrityLedger(model.store);
    await ledger.record(second);
    rmSync(join(second.directory, name));
    t.notOk(await ledger.isUntouched(second), name);
    t.type(await ledger.ensure(model.core, model.key, second), "string", name);
    t.strictSame(await numbersIn(model), [1], name);
  }
});

t.test("another key does not find the generation intact", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const other = model.key.slice().reverse();
  t.match(await new IntegrityLedger(model.store).ensure(model.core, other, first), /device state/);
});

t.test("what is forgotten is checked again, the rest is not", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const ledger = new IntegrityLedger(model.store);
  await ledger.record(first);
  await ledger.record(second);
  await ledger.forget(second);
  t.notOk(await ledger.isUntouched(second));
  t.ok(await ledger.isUntouched(first));
  await ledger.forget(second);
});

t.test("a ledger that is damaged or of nothing means that all is checked again", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const ledger = new IntegrityLedger(model.store);
  const path = join(model.store.path, "intact.json");
  for (const text of ["", "{", "null", "[]", "7", '{"1-x":"y"}', `{"1-${first.manifest.root}":"other"}`]) {
    await ledger.record(first);
    writeFileSync(path, text);
    t.notOk(await ledger.isUntouched(first), text);
    t.equal(await ledger.ensure(model.core, model.key, first), null, text);
    t.ok(await ledger.isUntouched(first), text);
  }
});

t.test("a generation that is gone leaves the ledger at the next entry", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first, second] = await model.addChain(1);
  const ledger = new IntegrityLedger(model.store);
  await ledger.record(first);
  await ledger.record(second);
  await model.store.remove(2);
  await ledger.record(first);
  const entries = JSON.parse(readFileSync(join(model.store.path, "intact.json"), "utf8")) as object;
  t.strictSame(Object.keys(entries), [`1-${first.manifest.root}`]);
});

t.test("a check that is no longer wanted says nothing and notes nothing", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const ledger = new IntegrityLedger(model.store);
  t.equal(await ledger.check(model.core, model.key, first, () => false), null);
  t.notOk(await ledger.isUntouched(first));
  t.equal(await ledger.check(model.core, model.key, first), null);
  t.ok(await ledger.isUntouched(first));
});

t.test("a check that this process cannot do says nothing of the generation", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const ledger = new IntegrityLedger(model.store);
  const { allocate } = model.core;
  model.core.allocate = () => {
    throw new RangeError("out of memory");
  };
  await t.rejects(ledger.ensure(model.core, model.key, first), /out of memory/);
  model.core.allocate = allocate;
  t.strictSame(await numbersIn(model), [1]);
  t.equal(await ledger.ensure(model.core, model.key, first), null);
});

t.test("no check leaves a file open", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const ledger = new IntegrityLedger(model.store);
  const openFiles = () => readdirSync("/proc/self/fd").length;
  const [first] = await model.addChain(0);
  await ledger.check(model.core, model.key, first);
  const before = openFiles();
  for (let i = 0; i < 5; i++) {
    const generation = i === 0 ? first : await model.add(model.memories.get(1) as Uint8Array);
    await ledger.check(model.core, model.key, generation);
    writeFileSync(join(generation.directory, "digests"), "too short");
    t.match(await ledger.check(model.core, model.key, generation), /digests: 9 bytes, \d+ expected/);
  }
  t.equal(openFiles(), before);
});

/** Two generations; the disk of the second one lies over that of the first. */
async function withDisks(t: Test) {
  const model = await ModelStore.create(t.testdir());
  const base = await addImage(model, "root", new Uint8Array(20 * page + 512).map(noiseFrom(1)));
  const own = new Map([
    [2, "data"],
    [5, "zero"],
  ] as const);
  const top = await addOverlay(model, base, own, 2);
  const memory = firstMemory(model.memoryBytes);
  const first = await model.add(memory, null, "device", [await diskOf(model, base)]);
  const second = await model.add(nextMemory(memory, 1), first, "device", [await diskOf(model, top)]);
  return { model, base, top, first, second, ledger: new IntegrityLedger(model.store) };
}

/** Files of an image in the store. */
const filesOfImage = ({ store }: ModelStore, { image }: ModelImage) => [
  store.images.pathOf(image),
  store.images.digestsPathOf(image),
];

t.test("images and digests of disks belong to what must not be touched", async (t) => {
  const { model, base, top, first, second, ledger } = await withDisks(t);
  const ensure = (generation: StoredGeneration) => ledger.ensure(model.core, model.key, generation);
  for (const generation of [first, second]) {
    t.equal(await ensure(generation), null);
    t.ok(await ledger.isUntouched(generation));
  }
  for (const path of [...filesOfImage(model, base), ...filesOfImage(model, top)]) {
    utimesSync(path, 1, 1);
    t.notOk(await ledger.isUntouched(second), path);
    t.equal(await ensure(second), null, "it is as it was");
    t.ok(await ledger.isUntouched(second));
  }
  t.notOk(await ledger.isUntouched(first));
});

t.test("an image that was altered sets aside what reads it, in whatever layer it is", async (t) => {
  const { model, base, top, first, second, ledger } = await withDisks(t);
  for (const generation of [first, second]) await ledger.record(generation);
  const [path] = filesOfImage(model, base);
  const bytes = readFileSync(path);
  bytes[9 * page + 7] ^= 1;
  writeFileSync(path, bytes);
  const ensure = (generation: StoredGeneration) => ledger.ensure(model.core, model.key, generation);
  const problem = "block 9 of disk root is not what was committed";
  t.equal(await ensure(second), problem);
  t.equal(await ensure(first), problem);
  t.strictSame(await numbersIn(model), []);
  t.equal(await model.store.sweep(), 0, "the images of what was set aside stay to be looked at");
  t.ok([base, top].every((one) => existsSync(filesOfImage(model, one)[0])));
});

t.test("digests of disks must have the root, and be there", async (t) => {
  for (const act of ["alter", "remove", "remove the descriptor"]) {
    const { model, top, first, second, ledger } = await withDisks(t);
    const [, path] = filesOfImage(model, top);
    if (act === "alter") {
      const bytes = readFileSync(path);
      bytes[4096] ^= 1;
      writeFileSync(path, bytes);
    } else rmSync(act === "remove" ? path : join(model.store.images.path, `${top.image.id}.json`));
    const problem = await ledger.ensure(model.core, model.key, second);
    t.match(problem, act === "alter" ? /digest/ : /a file of it is missing/, act);
    t.equal(await ledger.ensure(model.core, model.key, first), null, "the one under it is not concerned");
  }
});

t.test("a check of own blocks reads more where what lies under them was touched", async (t) => {
  const { model, base, first, second, ledger } = await withDisks(t);
  const { core, key } = model;
  const [path] = filesOfImage(model, base);
  const bytes = readFileSync(path);
  bytes[9 * page] ^= 1;
  await ledger.record(first);
  t.equal(await ledger.check(core, key, second, () => true, true), null);
  writeFileSync(path, bytes);
  const problem = await ledger.check(core, key, second, () => true, true);
  t.equal(problem, "block 9 of disk root is not what was committed");
});
