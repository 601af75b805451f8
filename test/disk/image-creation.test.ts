import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { BlockHost } from "../../cli/disk/block-host.ts";
import { bitmapsOf, blockNodes, sinceBitmapName } from "../../cli/disk/dirty-bitmaps.ts";
import { describeExternal, openContent } from "../../cli/disk/image-content.ts";
import { createImage, createOverlay, headerName, type NewImage } from "../../cli/disk/image-creation.ts";
import { ImageStore } from "../../cli/disk/image-store.ts";
import { QEMU_BINARY, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { endsAs } from "../store/operation-errors.ts";
import { openChain } from "./qemu-images.ts";

const size = (3 << 20) + 512;
const bitmap = { name: sinceBitmapName("disk0-0000000a"), granularityBytes: 8192 };

async function startHost(t: Test): Promise<{ folder: string; host: BlockHost; image: NewImage }> {
  const folder = await temporaryFolder(t);
  const host = await BlockHost.start(QEMU_BINARY, folder);
  t.teardown(() => host.kill());
  return { folder, host, image: { path: join(folder, "a.qcow2"), lengthBytes: size, backing: null, bitmap } };
}

t.test("a new image is its owner's alone, empty, and has the bitmap in it", async (t) => {
  const { host, image } = await startHost(t);
  await createImage(host.qmp, image);
  t.equal(statSync(image.path).mode & 0o777, 0o600);
  t.strictSame([...(await blockNodes(host.qmp)).keys()], [], "QEMU has let go of it");
  const chain = openChain(image.path, "qcow2");
  t.equal(chain.lengthBytes, size);
  t.ok(chain.isKnownZero(0, chain.blocks));
  chain.close();
  const node = { driver: "qcow2", "node-name": "a", file: { driver: "file", filename: image.path } };
  await host.open([node]);
  t.match(bitmapsOf(await blockNodes(host.qmp), "a"), [
    { name: bitmap.name, granularity: 8192, count: 0, recording: true, persistent: true },
  ]);
});

t.test("without a bitmap it has none, and its header names what it was told", async (t) => {
  const { folder, host, image } = await startHost(t);
  writeFileSync(join(folder, "base.img"), new Uint8Array(size).fill(6));
  const backing = { file: "base.img", format: "raw" } as const;
  await createImage(host.qmp, { ...image, backing, bitmap: null });
  const chain = openChain(image.path, "qcow2");
  const memory = new Uint8Array(chain.blocks * 4096);
  chain.readBlocks(memory, 0, 0, chain.blocks);
  chain.close();
  t.ok(memory.subarray(0, size).every((byte) => byte === 6));
  await host.open([{ driver: "qcow2", "node-name": "a", file: { driver: "file", filename: image.path } }]);
  t.strictSame(bitmapsOf(await blockNodes(host.qmp), "a"), []);
});

t.test("a failure leaves neither a file nor a node, and the path is told", async (t) => {
  const { folder, host, image } = await startHost(t);
  const refused: [string, Partial<NewImage>][] = [
    ["a granularity that is none", { bitmap: { ...bitmap, granularityBytes: 3 } }],
    ["a name that is too long", { bitmap: { ...bitmap, name: "x".repeat(1100) } }],
    ["a size that is no size", { lengthBytes: -512 }],
    ["a size that is too large", { lengthBytes: 2 ** 62 }],
  ];
  for (const [what, change] of refused) {
    const message = /^Cannot make disk image .*a\.qcow2: /;
    await t.rejects(createImage(host.qmp, { ...image, ...change }), { ...endsAs("failed"), message }, what);
    t.notOk(existsSync(image.path), what);
    t.strictSame([...(await blockNodes(host.qmp)).keys()], [], what);
  }
  const nowhere = { ...image, path: join(folder, "gone", "a.qcow2") };
  await t.rejects(createImage(host.qmp, nowhere), { ...endsAs("failed"), message: /ENOENT/ });
  await createImage(host.qmp, image);
  t.ok(existsSync(image.path), "and it can be made afterwards");
});

t.test("a file that is there already is neither used nor removed", async (t) => {
  const { host, image } = await startHost(t);
  writeFileSync(image.path, "somebody's");
  await t.rejects(createImage(host.qmp, image), { ...endsAs("failed"), message: /EEXIST/ });
  t.equal(readFileSync(image.path, "utf8"), "somebody's");
});

t.test("when QEMU dies in the middle no file is left", async (t) => {
  const { host, image } = await startHost(t);
  const making = createImage(host.qmp, image);
  making.catch(() => {});
  await host.kill();
  await making.then(
    () => t.ok(existsSync(image.path), "it was quicker"),
    () => t.notOk(existsSync(image.path)),
  );
});

t.test("an overlay names the image under it, and records since that one", async (t) => {
  const { folder, host } = await startHost(t);
  const images = new ImageStore(join(folder, "web1"));
  await images.prepare();
  const path = join(folder, "operator.img");
  writeFileSync(path, new Uint8Array(size).fill(4));
  const base = describeExternal(images, "root", path, "raw");
  const middle = images.describe("root", size, base.id);
  const top = images.describe("root", size, middle.id);
  await images.write(base);
  await createOverlay(host.qmp, images, middle, base, 65536);
  await createOverlay(host.qmp, images, top, middle, 4096);
  t.notOk(existsSync(join(images.path, `${top.id}.json`)), "the descriptor is the caller's");
  for (const image of [middle, top]) await images.write(image);
  t.equal(headerName(images, base), path);
  t.equal(headerName(images, middle), `${middle.id}.qcow2`);
  // By the names in the headers, as another program would read it, and by the descriptors.
  const content = await openContent(images, top.id);
  const memory = new Uint8Array(content.blocks * 4096);
  content.readBlocks(memory, 0, 0, content.blocks);
  content.close();
  t.ok(memory.subarray(0, size).every((byte) => byte === 4));
  const file = { driver: "file", filename: images.pathOf(top) };
  await host.open([{ driver: "qcow2", "node-name": "a", file }]);
  t.match(bitmapsOf(await blockNodes(host.qmp), "a"), [
    { name: sinceBitmapName(middle.id), granularity: 4096, persistent: true },
  ]);
});
