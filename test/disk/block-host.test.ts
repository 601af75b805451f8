import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { BlockHost, blockHostFolder, killBlockHost } from "../../cli/disk/block-host.ts";
import { chainNodes, nodeName } from "../../cli/disk/block-nodes.ts";
import { openContent } from "../../cli/disk/image-content.ts";
import { createOverlay } from "../../cli/disk/image-creation.ts";
import { ImageStore } from "../../cli/disk/image-store.ts";
import { NbdClient } from "../../cli/nbd/client.ts";
import { qemuSocketPath } from "../../cli/qemu/unix-socket.ts";
import { QEMU_BINARY, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { endsAs } from "../store/operation-errors.ts";

const size = (2 << 20) + 512;

async function start(t: Test, folder: string): Promise<BlockHost> {
  const host = await BlockHost.start(QEMU_BINARY, folder);
  t.teardown(() => host.kill());
  return host;
}

/** A raw image of the operator with an overlay in a store over it. */
async function twoImages(t: Test) {
  const folder = await temporaryFolder(t);
  const images = new ImageStore(join(folder, "web1"));
  await images.prepare();
  const path = join(folder, "operator.img");
  writeFileSync(path, new Uint8Array(size).fill(4));
  const described = images.describe("root", size, null);
  const base = { ...described, imageFormat: "raw" as const, file: path };
  const overlay = images.describe("root", size, base.id);
  const host = await start(t, folder);
  for (const image of [base, overlay]) await images.write(image);
  await createOverlay(host.qmp, images, overlay, base, 65536);
  return { folder, images, path, base, overlay, host };
}

t.test(
  "what is written over NBD is in the image when it is closed, and the one under it is as it was",
  async (t) => {
    const { images, path, base, overlay, host } = await twoImages(t);
    const node = nodeName(overlay.id);
    await host.open(chainNodes(images, [overlay, base], { writable: true, cache: "writeback" }));
    const socketPath = await host.exportWritable([node]);
    const client = await NbdClient.connect({ socketPath, exportName: node });
    t.equal(client.sizeBytes, size);
    await client.write(4096, new Uint8Array(8192).fill(9));
    await client.writeZeroes(1 << 20, 4096);
    await client.write(size - 512, new Uint8Array(512).fill(8));
    await client.flush();
    await client.disconnect();
    host.check();
    await host.close();
    t.equal(await host.process.exited.then(({ code }) => code), 0);

    const expected = new Uint8Array(size).fill(4);
    expected
      .fill(9, 4096, 4096 + 8192)
      .fill(0, 1 << 20, (1 << 20) + 4096)
      .fill(8, size - 512);
    const content = await openContent(images, overlay.id);
    const memory = new Uint8Array(content.blocks * 4096);
    content.readBlocks(memory, 0, 0, content.blocks);
    content.close();
    t.ok(Buffer.from(memory.subarray(0, size)).equals(expected));
    t.ok(readFileSync(path).equals(Buffer.alloc(size, 4)));
  },
);

t.test("an image under the one that is written to is open for reading only", async (t) => {
  const { images, base, overlay, host } = await twoImages(t);
  await host.open(chainNodes(images, [overlay, base], { writable: true, cache: "writeback" }));
  await t.rejects(host.exportWritable([nodeName(base.id)]), /read.only/i);
});

t.test("a file that is gone, or held by another QEMU, is told by its path", async (t) => {
  const { folder, images, base, overlay, host } = await twoImages(t);
  const options = { writable: true, cache: "writeback" } as const;
  const gone = { ...overlay, file: "gone.qcow2" };
  await t.rejects(host.open(chainNodes(images, [gone], options)), {
    ...endsAs("failed"),
    message: /gone\.qcow2/,
  });
  const another = await start(t, join(folder, "other"));
  await another.open(chainNodes(images, [overlay, base], options));
  const message = /^Cannot open disk image .*\.qcow2: .*lock/s;
  const top = chainNodes(images, [overlay, base], options).slice(1);
  await host.open(chainNodes(images, [base], { ...options, writable: false }));
  await t.rejects(host.open(top), { ...endsAs("failed"), message });
});

t.test("a block host that a dead agent left is ended, so that its images are free", async (t) => {
  const { folder, images, base, overlay, host } = await twoImages(t);
  const nodes = chainNodes(images, [overlay, base], { writable: true, cache: "writeback" });
  await host.open(nodes);
  const next = await start(t, folder);
  await host.process.exited;
  t.not(next.process.pid, host.process.pid);
  t.throws(() => host.check(), { ...endsAs("failed"), message: /has ended/ });
  await next.open(nodes);
  next.check();
  await killBlockHost(folder);
  await next.process.exited;
  t.throws(() => next.check(), endsAs("failed"));
  await t.resolves(killBlockHost(folder), "there is none any more");
  await t.resolves(killBlockHost(join(folder, "never")), "and never was");
});

t.test("it is in a folder of its own, that nobody else may enter", async (t) => {
  const folder = await temporaryFolder(t);
  const host = await start(t, folder);
  t.equal(blockHostFolder(folder), join(folder, "blocks"));
  t.equal(statSync(blockHostFolder(folder)).mode & 0o777, 0o700);
  await host.close();
  t.notOk(existsSync(qemuSocketPath(blockHostFolder(folder), "nbd.sock")));
});

t.test("a program that is no QEMU is refused", async (t) => {
  const folder = await temporaryFolder(t);
  await t.rejects(BlockHost.start("/bin/true", folder), { name: "OperationError" });
  await t.rejects(BlockHost.start(join(folder, "gone"), folder), { name: "OperationError" });
});
