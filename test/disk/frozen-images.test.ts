import { existsSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { completeImage, incompleteUnder } from "../../cli/disk/frozen-images.ts";
import { openContent, openDigests } from "../../cli/disk/image-content.ts";
import { headerName } from "../../cli/disk/image-creation.ts";
import { type ImageDescriptor, ImageStore } from "../../cli/disk/image-store.ts";
import { loadCore } from "../../src/core.ts";
import { endsAs } from "../store/operation-errors.ts";
import { createImage, missingPrograms, qemuIo } from "./qemu-images.ts";

const core = await loadCore();
const key = new Uint8Array(32).fill(7);
const size = (4 << 20) + 512;
const skip = missingPrograms;

/** A raw file of the operator's, and two images over it that were frozen one after the other; the VM writes to a third. */
async function newChain(t: Test) {
  const images = new ImageStore(join(t.testdir(), "web1"));
  await images.prepare();
  const path = join(t.testdirName, "disk0.img");
  writeFileSync(path, new Uint8Array(size).fill(5, 0, 1 << 20));
  const raw: ImageDescriptor = {
    ...images.describe("disk0", size, null),
    imageFormat: "raw",
    file: path,
  };
  await images.write(raw);
  const over = async (below: ImageDescriptor, ...commands: string[]) => {
    const image = images.describe("disk0", size, below.id);
    const file = headerName(images, below);
    createImage(images.pathOf(image), "qcow2", size, "", { file, format: below.imageFormat });
    if (commands.length > 0) qemuIo(images.pathOf(image), "qcow2", commands);
    await images.write(image);
    return image;
  };
  const one = await over(raw, "write -P 9 64k 100k", "write -z 512k 64k");
  const two = await over(one, "write -P 11 128k 4k", `write -P 12 ${4 << 20} 512`);
  const top = await over(two);
  return { images, raw, one, two, top };
}

/** Every digest of an image is that of its content, and so are the nodes above. */
async function check(t: Test, images: ImageStore, id: string): Promise<void> {
  const { digests, close } = await openDigests(core, key, images, id);
  const content = await openContent(images, id);
  const page = core.allocate(4096 + 16);
  let wrong = 0;
  for (let block = 0; block < content.blocks; block++) {
    content.readBlocks(core.bytes(), page, block, 1);
    core.raw.pageDigests(page, 1, digests.keyPointer, page + 4096);
    if (!digests.equals(block, core.bytes(), page + 4096)) wrong++;
  }
  t.equal(wrong, 0, `each block of ${id} has its digest`);
  t.ok(digests.checkNodes());
  content.close();
  close();
}

t.test("frozen images get digests of what they have, the lowest first", { skip }, async (t) => {
  const { images, raw, one, two, top } = await newChain(t);
  t.strictSame(
    (await incompleteUnder(images, top.id)).map(({ id }) => id),
    [raw.id, one.id, two.id],
  );
  for (const image of await incompleteUnder(images, top.id))
    t.ok(await completeImage(core, key, images, image));
  t.strictSame(await incompleteUnder(images, top.id), [], "nothing is left to do");
  for (const { id } of [raw, one, two]) await check(t, images, id);
  t.equal((await images.read(top.id)).digests, null, "the VM's own image has none");
});

t.test("one that is given up leaves nothing, and can be done again", { skip }, async (t) => {
  const { images, raw } = await newChain(t);
  t.notOk(await completeImage(core, key, images, raw, () => false));
  t.equal((await images.read(raw.id)).digests, null);
  t.strictSame(
    (await readdir(images.path)).filter((name) => name.endsWith(".digests")),
    [],
  );
  t.ok(await completeImage(core, key, images, raw));
  t.ok(existsSync(images.digestsPathOf(await images.read(raw.id))));
});

t.test("one over an image without digests is refused", { skip }, async (t) => {
  const { images, one } = await newChain(t);
  await t.rejects(completeImage(core, key, images, one), {
    ...endsAs("failed"),
    message: /it has no digests/,
  });
});
