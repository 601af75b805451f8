import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import {
  backingFilesOf,
  describeExternal,
  filesOf,
  openContent,
  openDigests,
  openImageFile,
} from "../../cli/disk/image-content.ts";
import type { ImageStore } from "../../cli/disk/image-store.ts";
import type { ImageFormat } from "../../src/disk/index.ts";
import { addImage, addOverlay, blockDigest } from "../store/model-disks.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { buildQcow2 } from "./qcow2-builder.ts";
import { contentByQemu, createImage, missingPrograms, qemuIo, randomCommands } from "./qemu-images.ts";

const diskBytes = 20 * page + 512;

async function newStore(t: Test): Promise<{ folder: string; model: ModelStore; images: ImageStore }> {
  const folder = t.testdir();
  const model = await ModelStore.create(folder);
  return { folder, model, images: model.store.images };
}

/** What an image of the store reads as. */
async function contentOf(images: ImageStore, id: string): Promise<Uint8Array> {
  const chain = await openContent(images, id);
  const memory = new Uint8Array(chain.blocks * page);
  chain.readBlocks(memory, 0, 0, chain.blocks);
  chain.close();
  return memory.subarray(0, chain.lengthBytes);
}

/** A qcow2 file whose header names another one. */
function qcow2On(file: string, format?: string): Uint8Array {
  const shape = { version: 3, clusterBits: 12, extended: false, diskBytes: 4 * page, seed: 1 } as const;
  const clusters = [{ kind: "data" }, { kind: "absent" }, { kind: "zero" }, { kind: "absent" }] as const;
  return buildQcow2({ ...shape, clusters, backing: { file, format } }).bytes;
}

t.test("images in the store are read through those under them, and so are their digests", async (t) => {
  const { model, images } = await newStore(t);
  const base = await addImage(model, "root", new Uint8Array(diskBytes).map(noiseFrom(1)));
  const middle = await addOverlay(
    model,
    base,
    new Map([
      [0, "data"],
      [7, "zero"],
      [20, "data"],
    ]),
    2,
  );
  const top = await addOverlay(
    model,
    middle,
    new Map([
      [7, "data"],
      [8, "data"],
    ]),
    3,
  );
  for (const { image, content } of [base, middle, top]) {
    t.ok(Buffer.from(await contentOf(images, image.id)).equals(content));
    const { digests, close } = await openDigests(model.core, model.key, images, image.id);
    const blocks = Array.from({ length: digests.blocks }, (_, block) => block);
    t.ok(blocks.every((block) => digests.equals(block, blockDigest(model, content, block), 0)));
    t.throws(() => digests.set(0, digests.zero, 0), TypeError, "they are opened for reading");
    close();
  }
  t.strictSame(
    await filesOf(images, top.image.id),
    [top, middle, base].flatMap(({ image }) => [images.pathOf(image), images.digestsPathOf(image)]),
  );
});

t.test("an image that a VM writes to has content, but no digests", async (t) => {
  const { model, images } = await newStore(t);
  const { image, content } = await addImage(model, "root", new Uint8Array(diskBytes).fill(3));
  await images.write({ ...image, digests: null });
  t.ok(Buffer.from(await contentOf(images, image.id)).equals(content));
  t.strictSame(await filesOf(images, image.id), [images.pathOf(image)]);
  await t.rejects(openDigests(model.core, model.key, images, image.id), /it has no digests/);
});

t.test("an image that is not as long as its disk, or gone, is refused", async (t) => {
  const { model, images } = await newStore(t);
  const { image } = await addImage(model, "root", new Uint8Array(diskBytes).fill(3));
  const overlay = await addOverlay(model, { image, content: new Uint8Array(diskBytes) }, new Map(), 1);
  truncateSync(images.pathOf(image), diskBytes - 512);
  for (const id of [image.id, overlay.image.id]) {
    await t.rejects(openContent(images, id), {
      ...endsAs("failed"),
      message: new RegExp(`${images.pathOf(image)}: it has ${diskBytes - 512} bytes, ${diskBytes} expected`),
    });
  }
  truncateSync(images.digestsPathOf(image), 4096);
  await t.rejects(openDigests(model.core, model.key, images, overlay.image.id), /4096 bytes, 8192 expected/);
  await images.write({ ...image, file: "gone.raw", digests: "gone.digests" });
  await t.rejects(openContent(images, overlay.image.id), { code: "ENOENT" });
  await t.rejects(openDigests(model.core, model.key, images, overlay.image.id), endsAs("failed"));
});

t.test("a file that is no image is refused with its path", async (t) => {
  const path = join(t.testdir(), "a.qcow2");
  writeFileSync(path, "no qcow2 at all");
  const refusal = { ...endsAs("failed"), message: /^Cannot use disk image .*a\.qcow2: / };
  t.throws(() => openImageFile(path, "qcow2"), refusal);
  const image = openImageFile(path, "raw");
  t.equal(image.lengthBytes, 15);
  image.close();
});

t.test(
  "a file of the operator is read with all that its header names",
  { skip: missingPrograms },
  async (t) => {
    const { folder, images } = await newStore(t);
    mkdirSync(join(folder, "below"));
    const at = (name: string) => join(folder, name);
    const size = (1 << 20) + 512;
    createImage(at("below/base.img"), "raw", size, "");
    qemuIo(at("below/base.img"), "raw", randomCommands(size, 20, 1));
    // Names in a header are relative to the folder of the file that has them.
    createImage(at("below/middle.qcow2"), "qcow2", size, "", { file: "base.img", format: "raw" });
    qemuIo(at("below/middle.qcow2"), "qcow2", randomCommands(size, 20, 2));
    createImage(at("top.qcow2"), "qcow2", size, "", { file: "below/middle.qcow2", format: "qcow2" });
    qemuIo(at("top.qcow2"), "qcow2", randomCommands(size, 20, 3));
    createImage(at("absolute.qcow2"), "qcow2", size, "", { file: at("top.qcow2"), format: "qcow2" });

    const below = [at("below/middle.qcow2"), at("below/base.img")];
    const files: [string, ImageFormat, string[]][] = [
      ["below/base.img", "raw", []],
      ["below/middle.qcow2", "qcow2", below.slice(1)],
      ["top.qcow2", "qcow2", below],
      ["absolute.qcow2", "qcow2", [at("top.qcow2"), ...below]],
    ];
    for (const [name, format, expected] of files) {
      t.strictSame(backingFilesOf(at(name), format), expected, name);
      const image = describeExternal(images, "root", at(name), format);
      t.match(image, {
        disk: "root",
        lengthBytes: size,
        imageFormat: format,
        file: at(name),
        backing: null,
        digests: null,
      });
      await images.write(image);
      t.ok(Buffer.from(await contentOf(images, image.id)).equals(contentByQemu(at(name), format)), name);
      t.strictSame(await filesOf(images, image.id), [at(name), ...expected]);
    }
  },
);

t.test("our overlays may lie over a file of the operator", { skip: missingPrograms }, async (t) => {
  const { folder, images } = await newStore(t);
  const [base, top] = ["base.img", "top.qcow2"].map((name) => join(folder, name));
  const size = 1 << 20;
  createImage(base, "raw", size, "");
  qemuIo(base, "raw", randomCommands(size, 20, 1));
  createImage(top, "qcow2", size, "", { file: "base.img", format: "raw" });
  qemuIo(top, "qcow2", randomCommands(size, 20, 2));
  const external = describeExternal(images, "root", top, "qcow2");
  await images.write(external);
  const overlay = images.describe("root", size, external.id);
  createImage(images.pathOf(overlay), "qcow2", size, "", { file: top, format: "qcow2" });
  qemuIo(images.pathOf(overlay), "qcow2", randomCommands(size, 20, 3));
  await images.write(overlay);
  const expected = contentByQemu(images.pathOf(overlay), "qcow2");
  t.ok(Buffer.from(await contentOf(images, overlay.id)).equals(expected));
  t.strictSame(await filesOf(images, overlay.id), [images.pathOf(overlay), top, base]);
});

t.test("what a header names must be a file, and its format must be said", async (t) => {
  const { folder, images } = await newStore(t);
  const path = join(folder, "top.qcow2");
  writeFileSync(join(folder, "base.img"), new Uint8Array(4 * page));
  const refused: [Uint8Array, RegExp][] = [
    [
      qcow2On("base.img"),
      /top\.qcow2: its header does not say the format of base\.img; set it with 'qemu-img rebase -u -F'/,
    ],
    [
      qcow2On("nbd:localhost:10809", "raw"),
      /top\.qcow2: it stands on nbd:localhost:10809, which is not a file/,
    ],
    [qcow2On("nbd+unix:///root?socket=x", "raw"), /which is not a file/],
    [qcow2On('json:{"driver":"raw"}', "raw"), /which is not a file/],
  ];
  for (const [bytes, message] of refused) {
    writeFileSync(path, bytes);
    t.throws(() => backingFilesOf(path, "qcow2"), { ...endsAs("failed"), message });
    const image = describeExternal(images, "root", path, "qcow2");
    await images.write(image);
    await t.rejects(openContent(images, image.id), { ...endsAs("failed"), message });
    await t.rejects(filesOf(images, image.id), { ...endsAs("failed"), message });
  }
  writeFileSync(path, qcow2On("gone.img", "raw"));
  t.throws(() => backingFilesOf(path, "qcow2"), { code: "ENOENT" });
  writeFileSync(path, qcow2On("base.img", "raw"));
  t.strictSame(backingFilesOf(path, "qcow2"), [join(folder, "base.img")]);
});

t.test("files that stand on each other without end are refused", async (t) => {
  const path = join(t.testdir(), "self.qcow2");
  writeFileSync(path, qcow2On("self.qcow2", "qcow2"));
  t.throws(() => backingFilesOf(path, "qcow2"), { ...endsAs("failed"), message: /more than 64 under it/ });
});
