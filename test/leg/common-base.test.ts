import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openDigests } from "../../cli/disk/image-content.ts";
import { baseIdOf, type CommonBase, findCommonBase, ownBaseOf } from "../../cli/leg/common-base.ts";
import { readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { Holders } from "../../cli/store/holders.ts";
import type { DiskShape } from "../../src/generation/disks.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { addImage, addOverlay, diskOf, type ModelImage } from "../store/model-disks.ts";
import { firstMemory, ModelStore, nextMemory, noiseFrom, page } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";

const idOf = ({ manifest }: StoredGeneration): GenerationId => ({
  generation: manifest.generation,
  root: manifest.root,
});
const foreign: GenerationId = { generation: 9, root: "9".repeat(64) };

async function search(
  model: ModelStore,
  offered: readonly GenerationId[],
  disks: readonly DiskShape[] = [],
  preferred: GenerationId | null = null,
) {
  const warnings: string[] = [];
  const { core, key, store } = model;
  const warn = (message: string) => warnings.push(message);
  const base = await findCommonBase({ core, key, store, offered, disks, warn, preferred });
  return { base, warnings };
}

/** Digests of a generation that only the peer has, as they are kept here. */
async function keepForeign(model: ModelStore, id: GenerationId, digests: Uint8Array): Promise<void> {
  const holders = new Holders(model.store.path);
  await holders.keepDigests(model.core, id, { digests, deviceDigest: new Uint8Array(32) });
  await holders.record("c", id);
}

function damage({ directory }: StoredGeneration): void {
  const path = join(directory, "ram.img");
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(path, bytes);
}

function generationOf(base: CommonBase): number | null {
  return base.mode === "content" ? base.generation.manifest.generation : null;
}

t.test("nothing in common: a first leg", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const empty = await search(model, [foreign]);
  t.strictSame(empty, { base: { mode: "nothing" }, warnings: [] }, "nothing is retained here");
  const [first] = await model.addChain(0);
  const offers = [
    [],
    [foreign],
    [{ ...idOf(first), root: foreign.root }],
    [{ ...idOf(first), generation: 2 }],
  ];
  for (const offered of offers) t.strictSame((await search(model, offered)).base, { mode: "nothing" });
  t.equal(baseIdOf({ mode: "nothing" }), null);
  t.equal(ownBaseOf({ mode: "nothing" }), null);
});

t.test("the newest generation that both have is the base, in whatever order it is offered", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(2);
  const [first, second, third] = (await model.store.list()).generations;
  const { base, warnings } = await search(model, [idOf(first), idOf(second), foreign]);
  t.equal(generationOf(base), 2);
  t.strictSame(base.mode === "content" && base.digests, await readDigests(second));
  t.strictSame(baseIdOf(base), idOf(second));
  t.strictSame(ownBaseOf(base), second);
  t.strictSame(warnings, []);
  t.equal(generationOf((await search(model, [idOf(third), idOf(first)])).base), 3);
});

t.test("a preferred generation is taken before newer ones, if both have it", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(2);
  const [first, second, third] = (await model.store.list()).generations;
  const all = [idOf(third), idOf(first), idOf(second)];
  t.equal(generationOf((await search(model, all, [], idOf(second))).base), 2);
  t.equal(generationOf((await search(model, [idOf(third), idOf(first)], [], idOf(second))).base), 3);
  const otherRoot = { ...idOf(second), root: foreign.root };
  t.equal(generationOf((await search(model, all, [], otherRoot)).base), 3, "a number alone is not enough");
});

t.test("digests of what only the peer has make a base, with the newest copy here under it", async (t) => {
  const model = await ModelStore.create(t.testdir());
  await model.addChain(1);
  const [first, second] = (await model.store.list()).generations;
  const digests = (await readDigests(first)).map((byte) => byte ^ 1);
  await keepForeign(model, foreign, digests);
  const { base } = await search(model, [idOf(first), foreign]);
  t.strictSame(base, {
    mode: "digests",
    id: foreign,
    digests,
    own: second,
    ownDigests: await readDigests(second),
  });
  t.strictSame(baseIdOf(base), foreign);
  t.strictSame(ownBaseOf(base), second);
});

t.test("a damaged base is set aside with a warning, and the next choice is taken", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = await model.add(firstMemory(model.memoryBytes));
  const second = await model.add(nextMemory(firstMemory(model.memoryBytes), 1));
  damage(second);
  const { base, warnings } = await search(model, [idOf(second), idOf(first)]);
  t.equal(generationOf(base), 1);
  t.match(warnings, [/^Generation 2 of web1 is damaged and set aside: page 46 of its memory/]);
  t.equal(warnings.length, 1);
  t.match(readdirSync(model.store.generationsPath).sort(), ["1", /^damaged-2-/]);
});

t.test("when every base is damaged the leg is a first leg, not an error", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const all = await model.addChain(2);
  damage(all[0]);
  const { base, warnings } = await search(model, all.map(idOf));
  t.strictSame(base, { mode: "nothing" });
  t.equal(warnings.length, 3);
});

t.test("a base whose file is missing is no error either", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = await model.add(firstMemory(model.memoryBytes));
  const second = await model.add(nextMemory(firstMemory(model.memoryBytes), 1));
  rmSync(join(second.directory, "ram.img"));
  t.equal(generationOf((await search(model, [idOf(second), idOf(first)])).base), 1);
});

t.test("digests cannot be used when the copy here is damaged", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  await keepForeign(model, foreign, await readDigests(first));
  damage(first);
  const { base, warnings } = await search(model, [foreign]);
  t.strictSame(base, { mode: "nothing" });
  t.equal(warnings.length, 1);
});

t.test("an older copy here serves under digests when the newest is damaged, for every offer", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = await model.add(firstMemory(model.memoryBytes));
  const second = await model.add(nextMemory(firstMemory(model.memoryBytes), 1));
  const digests = await readDigests(first);
  const other: GenerationId = { generation: 8, root: "8".repeat(64) };
  await keepForeign(model, foreign, digests.subarray(16));
  const holders = new Holders(model.store.path);
  await holders.keepDigests(model.core, other, { digests, deviceDigest: new Uint8Array(32) });
  damage(second);
  const { base, warnings } = await search(model, [other, foreign]);
  t.equal(base.mode, "digests");
  t.strictSame(baseIdOf(base), other);
  t.equal(ownBaseOf(base)?.manifest.generation, 1);
  t.equal(warnings.length, 1);
});

t.test("digests of a machine with other memory, and damaged ones, are passed over", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const [first] = await model.addChain(0);
  const digests = await readDigests(first);
  await keepForeign(model, foreign, digests.subarray(0, digests.length - 16));
  const { base } = await search(model, [foreign, idOf(first)]);
  t.equal(generationOf(base), 1, "the older one that fits");
  await keepForeign(model, foreign, digests);
  const path = join(model.store.path, "holders", `${foreign.root}.digests`);
  const bytes = readFileSync(path);
  bytes[3] ^= 1;
  writeFileSync(path, bytes);
  t.strictSame((await search(model, [foreign])).base, { mode: "nothing" });
});

t.test("generations of machines with other memory may be in one store", async (t) => {
  const folder = t.testdir();
  const small = await ModelStore.create(folder);
  const [first] = await small.addChain(0);
  const regions = [{ name: "pc.ram", kind: "ram", lengthBytes: 30 * page }] as const;
  const other = await ModelStore.create(folder, "web1", regions);
  const second = await other.add(firstMemory(other.memoryBytes));
  t.equal(second.manifest.generation, 2);
  t.equal(generationOf((await search(small, [idOf(first)])).base), 1);
  await keepForeign(small, foreign, await readDigests(first));
  t.strictSame(
    (await search(small, [foreign])).base,
    { mode: "nothing" },
    "the newest copy here is another machine's",
  );
});

const diskBytes = 20 * page + 512;
const rootDisk: DiskShape = { name: "root", lengthBytes: diskBytes };
const logDisk: DiskShape = { name: "log", lengthBytes: 4 * page };

/** Two generations with disks; the second one's root disk lies over the first one's. */
async function withDisks(model: ModelStore): Promise<{ all: StoredGeneration[]; images: ModelImage[] }> {
  const memory = firstMemory(model.memoryBytes);
  const root = await addImage(model, "root", new Uint8Array(diskBytes).map(noiseFrom(1)));
  const log = await addImage(model, "log", new Uint8Array(4 * page).map(noiseFrom(2)));
  const disks = [await diskOf(model, root), await diskOf(model, log)];
  const first = await model.add(memory, null, "device", disks);
  const overlay = await addOverlay(
    model,
    root,
    new Map([
      [3, "data"],
      [5, "zero"],
    ]),
    3,
  );
  const next = [await diskOf(model, overlay), disks[1]];
  const second = await model.add(nextMemory(memory, 1), first, "device", next);
  return { all: [first, second], images: [root, log, overlay] };
}

t.test("a generation with the disks that the VM has now is a base", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { all } = await withDisks(model);
  const { base, warnings } = await search(model, all.map(idOf), [rootDisk, logDisk]);
  t.equal(generationOf(base), 2);
  t.strictSame(warnings, []);
});

t.test("a damaged image of a disk sets its generation aside, and the one under it is taken", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { all, images } = await withDisks(model);
  const path = model.store.images.pathOf(images[2].image);
  const bytes = readFileSync(path);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(path, bytes);
  const { base, warnings } = await search(model, all.map(idOf), [rootDisk, logDisk]);
  t.equal(generationOf(base), 1);
  t.match(warnings, [/^Generation 2 of web1 is damaged and set aside: block 3 of disk root is not what/]);
});

t.test("a disk that was resized ends the leg, with both sizes", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { all } = await withDisks(model);
  const larger = { ...logDisk, lengthBytes: 5 * page };
  const message =
    /^Cannot migrate web1: disk log was resized from 16384 to 20480 bytes since generation 2; a disk keeps/;
  await t.rejects(search(model, all.map(idOf), [rootDisk, larger]), { ...endsAs("aborted"), message });
  await t.rejects(
    search(model, all.map(idOf), [larger, rootDisk]),
    { ...endsAs("aborted"), message },
    "also when the disks are in another order",
  );
  await keepForeign(model, foreign, await readDigests(all[1]));
  await t.rejects(
    search(model, [foreign], [rootDisk, larger]),
    { ...endsAs("aborted"), message },
    "and when the copy here would only lie under digests",
  );
  const { base } = await search(model, [], [rootDisk, larger]);
  t.strictSame(base, { mode: "nothing" }, "a leg that builds on nothing does not mind");
});

t.test(
  "disks that were added, taken away or put in another order make a first leg, with a warning",
  async (t) => {
    const folder = t.testdir();
    const model = await ModelStore.create(folder);
    const { all } = await withDisks(model);
    const newDisk: DiskShape = { name: "new", lengthBytes: page };
    const others: [readonly DiskShape[], RegExp][] = [
      [[rootDisk, logDisk, newDisk], /Generation 2 of web1 cannot be built on: disk new is not expected$/],
      [[rootDisk], /disk log is missing or in another place$/],
      [[logDisk, rootDisk], /disk root is missing or in another place$/],
      [[], /disk root is missing or in another place$/],
    ];
    for (const [disks, message] of others) {
      const { base, warnings } = await search(model, [idOf(all[1])], disks);
      t.strictSame(base, { mode: "nothing" });
      t.match(warnings, [message]);
      t.equal(warnings.length, 1);
    }
    const plain = await ModelStore.create(join(folder, "plain"));
    const [first] = await plain.addChain(0);
    const { base, warnings } = await search(plain, [idOf(first)], [newDisk]);
    t.strictSame(base, { mode: "nothing" });
    t.match(warnings, [/disk new is not expected/]);
  },
);

t.test("digests of what only the peer has need those of its disks too", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { all, images } = await withDisks(model);
  const { core, key, store } = model;
  const holders = new Holders(store.path);
  await keepForeign(model, foreign, await readDigests(all[0]));
  t.equal(generationOf((await search(model, [foreign, idOf(all[0])], [rootDisk, logDisk])).base), 1);
  const keep = async ({ image }: ModelImage) => {
    const { digests, close } = await openDigests(core, key, store.images, image.id);
    await holders.keepDiskDigests(core, key, foreign, image.disk, digests);
    close();
  };
  await keep(images[0]);
  t.strictSame(
    (await search(model, [foreign], [rootDisk, logDisk])).base,
    { mode: "nothing" },
    "one is missing",
  );
  await keep(images[1]);
  const { base, warnings } = await search(model, [foreign], [rootDisk, logDisk]);
  t.strictSame(baseIdOf(base), foreign);
  t.strictSame(warnings, []);
});
