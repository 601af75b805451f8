import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { openDigests } from "../../cli/disk/image-content.ts";
import { Holders } from "../../cli/store/holders.ts";
import { loadCore } from "../../src/core.ts";
import { addImage, addOverlay, blockDigest, diskOf } from "./model-disks.ts";
import { ModelStore, noiseFrom, page } from "./model-store.ts";

const core = await loadCore();
const id = (generation: number, byte: string) => ({ generation, root: byte.repeat(32) });
const digestsOf = (seed: number) => ({
  digests: new Uint8Array(48).fill(seed),
  deviceDigest: new Uint8Array(32).fill(seed + 1),
});

t.test("the newest generation of each site is remembered, older news is not", async (t) => {
  const holders = new Holders(t.testdir());
  t.equal((await holders.list()).size, 0);
  await holders.record("a", id(3, "aa"));
  await holders.record("b", id(1, "bb"));
  await holders.record("a", id(2, "cc"));
  t.strictSame(Object.fromEntries(await holders.list()), { a: id(3, "aa"), b: id(1, "bb") });
  await holders.record("a", id(3, "dd"));
  t.strictSame((await holders.list()).get("a"), id(3, "dd"), "the same number with another root replaces");
});

t.test("digests come back, until nobody holds that generation any more", async (t) => {
  const folder = t.testdir();
  const holders = new Holders(folder);
  await holders.keepDigests(core, id(3, "aa"), digestsOf(3));
  await holders.record("a", id(3, "aa"));
  t.strictSame(await holders.readDigests(core, id(3, "aa")), digestsOf(3));
  t.equal(await holders.readDigests(core, id(3, "bb")), null);
  await holders.record("a", id(4, "bb"));
  t.equal(await holders.readDigests(core, id(3, "aa")), null);
  t.strictSame(readdirSync(join(folder, "holders")), ["a.json"]);
});

t.test("every flipped bit and every truncation of kept digests is found", async (t) => {
  const folder = t.testdir();
  const holders = new Holders(folder);
  await holders.keepDigests(core, id(3, "aa"), digestsOf(3));
  const path = join(folder, "holders", `${"aa".repeat(32)}.digests`);
  const bytes = readFileSync(path);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at] ^= 1 << (at & 7);
    writeFileSync(path, damaged);
    if ((await holders.readDigests(core, id(3, "aa"))) !== null) t.fail(`byte ${at} flipped`);
    writeFileSync(path, bytes.subarray(0, at));
    if ((await holders.readDigests(core, id(3, "aa"))) !== null) t.fail(`cut at ${at}`);
  }
  t.ok(existsSync(path));
});

t.test("records that are damaged, or named like no site, are left out", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "holders"));
  const put = (name: string, text: string) => writeFileSync(join(folder, "holders", name), text);
  put("a.json", JSON.stringify(id(1, "aa")));
  put("b.json", "{");
  put("c.json", JSON.stringify({ ...id(1, "aa"), more: 1 }));
  put("d.json", JSON.stringify({ generation: 0, root: "aa".repeat(32) }));
  put("UP.json", JSON.stringify(id(1, "aa")));
  put("note.txt", "x");
  t.strictSame([...(await new Holders(folder).list()).keys()], ["a"]);
});

const diskSize = 20 * page + 512;

/** A store with an image over another one, and the digests of both together. */
async function withImage(t: Test) {
  const model = await ModelStore.create(t.testdir());
  const base = await addImage(model, "root", new Uint8Array(diskSize).map(noiseFrom(1)));
  const own = new Map([
    [3, "data"],
    [4, "zero"],
  ] as const);
  const top = await addOverlay(model, base, own, 2);
  const opened = await openDigests(model.core, model.key, model.store.images, top.image.id);
  t.teardown(() => opened.close());
  return { model, top, digests: opened.digests, holders: new Holders(model.store.path) };
}

t.test("digests of disks come back without the images they were in, until nobody holds them", async (t) => {
  const { model, top, digests, holders } = await withImage(t);
  const { core, key, store } = model;
  const held = id(3, "aa");
  const kept = await holders.keepDiskDigests(core, key, held, "root", digests);
  t.strictSame(kept, digests.top());
  rmSync(store.images.path, { recursive: true });
  await holders.record("c", held);
  const found = await holders.openDiskDigests(core, key, held, "root", digests.blocks);
  const blocks = Array.from({ length: digests.blocks }, (_, block) => block);
  t.ok(
    found && blocks.every((block) => found.digests.equals(block, blockDigest(model, top.content, block), 0)),
  );
  t.strictSame(found?.digests.top(), kept);
  found?.close();
  t.equal(await holders.openDiskDigests(core, key, held, "log", digests.blocks), null, "another disk");
  t.equal(await holders.openDiskDigests(core, key, id(3, "bb"), "root", digests.blocks), null);
  t.equal(await holders.openDiskDigests(core, key, held, "root", 5000), null, "a disk of another size");
  await holders.record("c", id(4, "bb"));
  t.strictSame(readdirSync(join(store.path, "holders")), ["c.json"]);
});

t.test(
  "digests of disks that are changed while they are kept have the top of what they became",
  async (t) => {
    const { model, top, digests, holders } = await withImage(t);
    const { core, key } = model;
    const content = top.content.slice();
    content[9 * page] ^= 1;
    content.fill(0, 10 * page, 11 * page);
    const kept = await holders.keepDiskDigests(core, key, id(3, "aa"), "root", digests, async (target) => {
      for (const block of [9, 10]) target.set(block, blockDigest(model, content, block), 0);
    });
    const whole = await addImage(model, "root", content);
    t.strictSame(kept, (await diskOf(model, whole)).top);
    t.strictSame((await diskOf(model, top)).top, digests.top(), "what they were made from stays");
  },
);

t.test("a change that fails leaves nothing, and what was kept before", async (t) => {
  const { model, digests, holders } = await withImage(t);
  const { core, key, store } = model;
  const held = id(3, "aa");
  const fail = async () => {
    throw new Error("cut off");
  };
  await t.rejects(holders.keepDiskDigests(core, key, held, "root", digests, fail), /cut off/);
  t.strictSame(readdirSync(join(store.path, "holders")), []);
  await holders.keepDiskDigests(core, key, held, "root", digests);
  await t.rejects(holders.keepDiskDigests(core, key, held, "root", digests, fail), /cut off/);
  const found = await holders.openDiskDigests(core, key, held, "root", digests.blocks);
  t.strictSame(found?.digests.top(), digests.top());
  found?.close();
});

t.test("a flipped bit in kept digests of a disk is found", async (t) => {
  const { model, digests, holders } = await withImage(t);
  const { core, key, store } = model;
  const held = id(3, "aa");
  await holders.keepDiskDigests(core, key, held, "root", digests);
  const path = join(store.path, "holders", `${held.root}.root.digests`);
  const bytes = readFileSync(path);
  const ofBlocks = digests.blocks * 16;
  for (const at of [0, 100, ofBlocks - 1, 4096, 4096 + 15]) {
    const damaged = Buffer.from(bytes);
    damaged[at] ^= 1 << (at & 7);
    writeFileSync(path, damaged);
    t.equal(await holders.openDiskDigests(core, key, held, "root", digests.blocks), null, `byte ${at}`);
  }
  writeFileSync(path, bytes.subarray(0, -1));
  t.equal(await holders.openDiskDigests(core, key, held, "root", digests.blocks), null, "cut");
});

t.test("what turned out wrong is forgotten with its disks, and nothing else is", async (t) => {
  const { model, digests, holders } = await withImage(t);
  const { core, key, store } = model;
  await holders.forgetDigests(id(3, "aa"));
  for (const held of [id(3, "aa"), id(4, "bb")]) {
    await holders.keepDiskDigests(core, key, held, "root", digests);
    await holders.keepDigests(core, held, digestsOf(3));
  }
  await holders.forgetDigests(id(3, "aa"));
  const { root } = id(4, "bb");
  t.strictSame(readdirSync(join(store.path, "holders")).sort(), [`${root}.digests`, `${root}.root.digests`]);
});
