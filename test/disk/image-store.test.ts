import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type ImageDescriptor, ImageStore, maxChainImages } from "../../cli/disk/image-store.ts";
import { imageIdPattern } from "../../src/generation/manifest.ts";
import { endsAs } from "../store/operation-errors.ts";

const size = 8 << 20;

async function newStore(t: Test): Promise<{ folder: string; images: ImageStore }> {
  const folder = t.testdir();
  const images = new ImageStore(join(folder, "web1"));
  await images.prepare();
  return { folder, images };
}

/** Puts an image and its files into the store. */
async function put(
  images: ImageStore,
  backing: ImageDescriptor | null = null,
  changes: Partial<ImageDescriptor> = {},
): Promise<ImageDescriptor> {
  const image = { ...images.describe("disk0", size, backing?.id ?? null), ...changes };
  if (!existsSync(images.pathOf(image))) writeFileSync(images.pathOf(image), image.id);
  if (image.digests !== null) writeFileSync(images.digestsPathOf(image), image.id);
  await images.write(image);
  return image;
}

const filesIn = (images: ImageStore) => readdirSync(images.path).sort();

t.test("a new image has an id of its disk, and a file of that name", async (t) => {
  const { images } = await newStore(t);
  const [one, two] = [images.describe("log-1", 512, null), images.describe("log-1", 512, "log-1-00000000")];
  t.match(one.id, imageIdPattern);
  t.match(one.id, /^log-1-/);
  t.not(one.id, two.id);
  t.match(two, {
    format: 1,
    disk: "log-1",
    lengthBytes: 512,
    imageFormat: "qcow2",
    backing: "log-1-00000000",
  });
  t.equal(images.pathOf(one), join(images.path, `${one.id}.qcow2`));
  t.equal(images.pathOf({ ...one, file: "/srv/a.img" }), "/srv/a.img");
  t.throws(() => images.digestsPathOf(one), { ...endsAs("failed"), message: /it has no digests/ });
  t.strictSame(filesIn(images), [], "nothing is written");
  t.equal(statSync(images.path).mode & 0o777, 0o700);
});

t.test("descriptors come back as they were written, and can be replaced", async (t) => {
  const { images } = await newStore(t);
  const image = await put(images);
  t.strictSame(await images.read(image.id), image);
  const sealed = { ...image, digests: `${image.id}.digests`, file: "other.qcow2" };
  await images.write(sealed);
  t.strictSame(await images.read(image.id), sealed);
  t.equal(statSync(join(images.path, `${image.id}.json`)).mode & 0o777, 0o600);
  t.strictSame([...(await images.list()).values()], [sealed]);
});

t.test("a descriptor that is missing or damaged is refused, and not listed", async (t) => {
  const { images } = await newStore(t);
  const good = await put(images);
  const damaged: [string, (image: ImageDescriptor) => unknown][] = [
    ["of a later format", (image) => ({ ...image, format: 2 })],
    ["of another image", (image) => ({ ...image, id: good.id })],
    ["with a path out of the store", (image) => ({ ...image, file: "../../etc/passwd" })],
    ["with a folder in its name", (image) => ({ ...image, file: "a/b.qcow2" })],
    ["with digests out of the store", (image) => ({ ...image, digests: "/etc/passwd" })],
    ["of no size", (image) => ({ ...image, lengthBytes: 0 })],
    ["of a size beyond any disk", (image) => ({ ...image, lengthBytes: 2 ** 45 })],
    ["of an unknown format", (image) => ({ ...image, imageFormat: "vmdk" })],
    ["on no image", (image) => ({ ...image, backing: "../x" })],
    ["with more", (image) => ({ ...image, more: 1 })],
    ["with less", ({ disk, ...image }) => image],
    ["of null", () => null],
  ];
  for (const [what, change] of damaged) {
    const image = await put(images);
    const path = join(images.path, `${image.id}.json`);
    writeFileSync(path, JSON.stringify(change(image)));
    await t.rejects(images.read(image.id), { ...endsAs("failed"), message: /is missing or damaged/ }, what);
  }
  const image = await put(images);
  writeFileSync(join(images.path, `${image.id}.json`), "{");
  await t.rejects(images.read(image.id), endsAs("failed"), "no JSON");
  await t.rejects(images.read("disk0-00000000"), endsAs("failed"), "missing");
  t.strictSame([...(await images.list()).keys()], [good.id]);
  const unwritten = images.describe("disk0", size, null);
  await t.rejects(images.write({ ...unwritten, file: "../x" }), "what could not be read is not written");
  t.notOk(existsSync(join(images.path, `${unwritten.id}.json`)));
});

t.test("a chain has the image and all under it, newest first", async (t) => {
  const { images } = await newStore(t);
  const base = await put(images);
  const middle = await put(images, base);
  const top = await put(images, middle);
  t.strictSame(await images.chain(top.id), [top, middle, base]);
  t.strictSame(await images.chain(base.id), [base]);
});

t.test("a chain with a hole, a cycle or no end is refused", async (t) => {
  const { images } = await newStore(t);
  const orphan = await put(images, { id: "disk0-00000000" } as ImageDescriptor);
  await t.rejects(images.chain(orphan.id), {
    ...endsAs("failed"),
    message: /disk0-00000000\.json is missing/,
  });
  const one = await put(images);
  const two = await put(images, one);
  await images.write({ ...one, backing: two.id });
  await t.rejects(images.chain(two.id), { ...endsAs("failed"), message: /more than 64 under it/ });
  let top = await put(images);
  for (let i = 1; i < maxChainImages; i++) top = await put(images, top);
  t.equal((await images.chain(top.id)).length, maxChainImages);
  const over = await put(images, top);
  await t.rejects(images.chain(over.id), endsAs("failed"));
});

t.test("what the VM writes to is nothing until it is recorded, and never guessed", async (t) => {
  const { folder, images } = await newStore(t);
  t.strictSame(await images.current(), { format: 1, images: {}, aside: [] });
  const current = { format: 1, images: { disk0: "disk0-0000000a" }, aside: ["disk0-0000000b"] } as const;
  await images.setCurrent({ ...current, aside: [...current.aside] });
  t.strictSame(await new ImageStore(join(folder, "web1")).current(), current);
  const path = join(folder, "web1", "disks.json");
  t.equal(statSync(path).mode & 0o777, 0o600);
  for (const text of [
    "",
    "{",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...current, images: { disk0: "../x" } }),
  ]) {
    writeFileSync(path, text);
    await t.rejects(images.current(), { ...endsAs("refused"), message: /Cannot trust .*disks\.json/ }, text);
  }
});

t.test("a sweep keeps what is needed, and removes the rest", async (t) => {
  const { folder, images } = await newStore(t);
  const outside = join(folder, "operator.img");
  writeFileSync(outside, "the operator's");
  const external = await put(images, null, { file: outside, imageFormat: "raw" });
  const lost = await put(images, null, { file: join(folder, "lost.img"), imageFormat: "raw" });
  const named = await put(images, external, { digests: "named.digests" });
  const current = await put(images, named);
  const aside = await put(images, external);
  // After a merge an image may have its blocks in a file that has another one's name.
  const shared = await put(images, external, { file: "shared.qcow2", digests: "shared.digests" });
  const user = await put(images, external, { file: "shared.qcow2", digests: "shared.digests" });
  const old = await put(images, current, { digests: "old.digests" });
  const unnamed = await put(images);
  writeFileSync(join(images.path, ".partial-leg-disk0.digests"), "x");
  writeFileSync(join(images.path, "stray.qcow2"), "x");
  await images.setCurrent({ format: 1, images: { disk0: current.id }, aside: [aside.id] });
  const removed = await images.sweep([named.id, user.id]);
  const kept = [external, named, current, aside, user].map(({ id }) => `${id}.json`);
  const files = [named, current, aside].map(({ file }) => file);
  t.strictSame(
    filesIn(images),
    [...kept, ...files, "named.digests", "shared.qcow2", "shared.digests"].sort(),
  );
  // Three files of `old`, two of `unnamed`, the descriptors of `lost` and `shared`, and two strays.
  t.equal(removed, 9);
  t.equal(readFileSync(outside, "utf8"), "the operator's");
  t.ok(existsSync(lost.file), "not even where nothing needs it any more");
  t.equal(await images.sweep([named.id, user.id]), 0);
  t.ok([old, unnamed, shared].every(({ id }) => !existsSync(join(images.path, `${id}.json`))));
});

t.test("a sweep of a store that has no images, or none that is needed", async (t) => {
  const folder = t.testdir();
  const images = new ImageStore(join(folder, "web1"));
  t.equal(await images.sweep([]), 0, "there is no folder");
  await images.prepare();
  const outside = join(folder, "operator.img");
  await put(images, null, { file: outside, imageFormat: "raw" });
  t.equal(await images.sweep([]), 1);
  t.strictSame(filesIn(images), []);
  t.ok(existsSync(outside));
});

t.test("while what is needed cannot be followed to its end, nothing is removed", async (t) => {
  const { folder, images } = await newStore(t);
  const base = await put(images);
  const middle = await put(images, base);
  const top = await put(images, middle);
  const before = filesIn(images);
  writeFileSync(join(images.path, `${middle.id}.json`), "{");
  t.equal(await images.sweep([top.id]), 0, "an image of a generation stands on a damaged one");
  await images.setCurrent({ format: 1, images: { disk0: top.id }, aside: [] });
  t.equal(await images.sweep([]), 0, "the VM writes to it");
  await images.setCurrent({ format: 1, images: {}, aside: [middle.id] });
  t.equal(await images.sweep([]), 0, "it was set aside");
  await images.setCurrent({ format: 1, images: {}, aside: [] });
  t.equal(await images.sweep(["disk0-00000000"]), 0, "a generation names what is not here");
  writeFileSync(join(folder, "web1", "disks.json"), "{");
  await t.rejects(images.sweep([]), endsAs("refused"), "what the VM writes to is not known");
  t.strictSame(filesIn(images), before);
});

t.test("the bytes of an image are those of its own files on the disk", async (t) => {
  const { images } = await newStore(t);
  const image = await put(images, null, { digests: "d.digests" });
  writeFileSync(images.pathOf(image), new Uint8Array(100_000).fill(1));
  const blocks = [images.pathOf(image), images.digestsPathOf(image)].map((path) => statSync(path).blocks);
  t.equal(await images.bytesOf(image), (blocks[0] + blocks[1]) * 512);
  t.equal(await images.bytesOf({ ...image, file: "gone.qcow2", digests: null }), 0);
});

t.test("what was set aside stays until what the VM wrote to since is part of a generation", async (t) => {
  const { images } = await newStore(t);
  const newer = await put(images);
  const recovered = await put(images);
  const asideIs = async (expected: readonly string[], why: string) => {
    await images.forgetAside();
    t.strictSame((await images.current()).aside, expected, why);
    t.equal(existsSync(images.pathOf(newer)), true);
    t.equal(await images.sweep([]), expected.length > 0 ? 0 : 2, "and the sweep keeps to it");
  };
  await images.setCurrent({ format: 1, images: {}, aside: [newer.id, recovered.id] });
  await asideIs([newer.id, recovered.id], "nothing was started in its place so far");
  await images.setCurrent({ format: 1, images: { disk0: recovered.id }, aside: [newer.id] });
  await asideIs([newer.id], "the VM still writes to its new image");
  const digests = `${recovered.id}.digests`;
  writeFileSync(join(images.path, digests), "");
  await images.write({ ...recovered, digests });
  await asideIs([], "the VM has left, and its image is complete");
  t.ok(existsSync(images.pathOf(recovered)));
});
