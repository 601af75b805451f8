import { readFileSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import { findDiskDamage } from "../../cli/disk/disk-check.ts";
import { openContent, openDigests } from "../../cli/disk/image-content.ts";
import { DigestFile } from "../../cli/store/digest-file.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { addImage, addOverlay, blockDigest, type ModelImage } from "../store/model-disks.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";

const blocks = 301;
const diskBytes = 300 * page + 1024;

/** Three images over one another; some blocks are zero in each of them. */
async function threeImages(t: Test): Promise<{ model: ModelStore; all: ModelImage[] }> {
  const model = await ModelStore.create(t.testdir());
  const content = new Uint8Array(diskBytes).map(noiseFrom(1));
  content.fill(0, 30 * page, 200 * page);
  const base = await addImage(model, "root", content);
  const middle = await addOverlay(
    model,
    base,
    new Map([
      [2, "data"],
      [3, "zero"],
      [40, "data"],
    ]),
    2,
  );
  const top = await addOverlay(
    model,
    middle,
    new Map([
      [40, "zero"],
      [41, "data"],
      [300, "data"],
    ]),
    3,
  );
  return { model, all: [base, middle, top] };
}

async function check(
  model: ModelStore,
  { image }: ModelImage,
  ownBlocksOnly = false,
  isWanted = () => true,
): Promise<string | null> {
  const { core, key, store } = model;
  const content = await openContent(store.images, image.id);
  const { digests, close } = await openDigests(core, key, store.images, image.id);
  try {
    return await findDiskDamage(core, content, digests, ownBlocksOnly, isWanted);
  } finally {
    content.close();
    close();
  }
}

/** Changes one bit of an image's file. */
function flip(model: ModelStore, { image }: ModelImage, at: number): void {
  const path = model.store.images.pathOf(image);
  const bytes = readFileSync(path);
  bytes[at] ^= 0x20;
  writeFileSync(path, bytes);
}

/** Where the file of an overlay has a block. */
function placeOf(model: ModelStore, { image, content }: ModelImage, block: number): number {
  const place = readFileSync(model.store.images.pathOf(image)).indexOf(
    Buffer.from(content.subarray(block * page, (block + 1) * page)),
  );
  if (place < 0) throw new Error(`block ${block} is not in ${image.file}`);
  return place;
}

/** Sets a digest in the newest layer, with the nodes above it. */
async function setDigest(model: ModelStore, { image }: ModelImage, block: number, digest: Uint8Array) {
  const { core, key, store } = model;
  const layers = (await store.images.chain(image.id)).map((one, i) =>
    DigestFile.open(store.images.digestsPathOf(one), blocks, { writable: i === 0 }),
  );
  const digests = new BlockDigests(core, key, blocks, layers);
  digests.set(block, digest, 0);
  digests.flush();
  digests.release();
  for (const layer of layers) layer.close();
}

t.test("images that are whole pass, in full and by their own blocks", async (t) => {
  const { model, all } = await threeImages(t);
  for (const image of all) {
    t.equal(await check(model, image), null);
    t.equal(await check(model, image, true), null);
  }
});

t.test("one flipped bit is found in whatever layer it is, and named by its block", async (t) => {
  const { model, all } = await threeImages(t);
  const [base, middle, top] = all;
  const places: [ModelImage, number, number][] = [
    [base, 0, 0],
    [base, 29 * page + 4095, 29],
    [base, 230 * page + 7, 230],
    [base, 100 * page, 100],
    [middle, placeOf(model, middle, 2) + 100, 2],
    [top, placeOf(model, top, 41), 41],
    [top, placeOf(model, top, 300) + 1023, 300],
  ];
  for (const [image, at, block] of places) {
    flip(model, image, at);
    t.equal(await check(model, top), `block ${block}`);
    flip(model, image, at);
    t.equal(await check(model, top), null);
  }
});

t.test("what lies under another image's block does not matter to what is read through both", async (t) => {
  const { model, all } = await threeImages(t);
  const [base, middle, top] = all;
  flip(model, base, 2 * page);
  flip(model, middle, placeOf(model, middle, 40));
  t.equal(await check(model, top), null);
  t.equal(await check(model, middle), "block 40");
  t.equal(await check(model, base), "block 2");
});

t.test("with own blocks only, the images under the newest one are not read", async (t) => {
  const { model, all } = await threeImages(t);
  const [base, middle, top] = all;
  flip(model, base, 0);
  flip(model, middle, placeOf(model, middle, 2));
  t.equal(await check(model, top, true), null);
  t.equal(await check(model, middle, true), "block 2");
  flip(model, top, placeOf(model, top, 41) + 9);
  t.equal(await check(model, top, true), "block 41");
});

t.test("a digest of what is not there is found, and one that lacks", async (t) => {
  const { model, all } = await threeImages(t);
  const [, , top] = all;
  const digest = model.core.blake3(Uint8Array.of(1), model.key, digestBytes);
  await setDigest(model, top, 150, digest);
  t.equal(await check(model, top), "block 150", "the disk has zeroes there");
  t.equal(await check(model, top, true), "block 150");
  const zero = blockDigest(model, new Uint8Array(page), 0);
  await setDigest(model, top, 150, zero);
  t.equal(await check(model, top), null);
  await setDigest(model, top, 10, zero);
  t.equal(await check(model, top), "block 10", "the disk has content that no digest speaks of");
});

t.test("a digest that is altered without the nodes above it is found", async (t) => {
  const { model, all } = await threeImages(t);
  const [base, , top] = all;
  const path = model.store.images.digestsPathOf(base.image);
  const bytes = readFileSync(path);
  bytes[5 * digestBytes] ^= 1;
  writeFileSync(path, bytes);
  t.equal(await check(model, top), "a digest");
  t.equal(await check(model, top, true), null, "the nodes are not what this mode looks at");
});

t.test("it ends early when it is not wanted any more, and lets other work in between", async (t) => {
  const { model, all } = await threeImages(t);
  const [base, , top] = all;
  flip(model, base, 299 * page);
  let asked = 0;
  let turns = 0;
  const immediate = () => {
    turns++;
    if (asked < 2) setImmediate(immediate);
  };
  setImmediate(immediate);
  t.equal(await check(model, top, false, () => ++asked < 2), null);
  t.ok(asked >= 2);
  t.ok(turns > 0);
  t.equal(await check(model, top), "block 299");
});
