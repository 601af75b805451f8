import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { forgetReplacedFiles, resolveDisks } from "../../cli/agent/disk-files.ts";
import { ManagedVm } from "../../cli/agent/managed-vm.ts";
import type { QemuSite } from "../../cli/agent/vm-confinement.ts";
import {
  adoptDisks,
  currentChains,
  diskSpecs,
  legDisks,
  overlaysOnGeneration,
  prepareDisks,
  recordRecovered,
  runAgain,
} from "../../cli/agent/vm-disks.ts";
import { parseDefinition, type VmDefinition } from "../../cli/config/vm-definition.ts";
import { bitmapsOf, blockNodes, sinceBitmapName } from "../../cli/disk/dirty-bitmaps.ts";
import type { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { DigestFile } from "../../cli/store/digest-file.ts";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { buildQcow2 } from "../disk/qcow2-builder.ts";
import { createImage } from "../disk/qemu-images.ts";
import { launchTestQemu, QEMU_BINARY, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { diskOf } from "../store/model-disks.ts";
import { firstMemory, ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";

const size = (1 << 20) + 512;
/** QEMU runs as the test does, so folders do not matter. */
const site: QemuSite = { store: "", run: "", qemu: { binary: QEMU_BINARY, args: [], sandbox: "auto" } };

interface Rig {
  readonly folder: string;
  readonly vm: ManagedVm;
  readonly model: ModelStore;
  define(disks: string): VmDefinition;
}

/** A VM with a disk in a raw file and one in a qcow2 file. */
async function newRig(t: Test): Promise<Rig> {
  const folder = await temporaryFolder(t);
  const model = await ModelStore.create(folder);
  const define = (disks: string) =>
    parseDefinition(
      `name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\ndisks: ${disks}\n`,
      join(folder, "web1.yaml"),
    );
  writeFileSync(join(folder, "root.img"), new Uint8Array(size).fill(1));
  createImage(join(folder, "log.qcow2"), "qcow2", 1 << 20, "");
  const definition = define("[{id: root, file: root.img}, {id: log, file: log.qcow2, bus: virtio-scsi}]");
  const vm = new ManagedVm(model.core, model.storePath, join(folder, "run"), definition);
  vm.definition = await resolveDisks(definition, vm.store.images);
  return { folder, vm, model, define };
}

/** A qcow2 file that is good for being read. */
function qcow2(backing?: { file: string; format?: string }): Uint8Array {
  const clusters = new Array<{ kind: "data" | "absent" }>(16).fill({ kind: "absent" });
  return buildQcow2({
    version: 3,
    clusterBits: 16,
    extended: false,
    diskBytes: 1 << 20,
    clusters,
    seed: 1,
    backing,
  }).bytes;
}

/** A generation that names the images that the VM writes to now. */
async function seal({ vm, model }: Rig): Promise<StoredGeneration> {
  const { images } = vm.store;
  const disks = await Promise.all(
    (await currentChains(vm)).map(async ([image]) => {
      // What a leg finds in the image; here it has nothing of its own.
      const sealed = { ...image, digests: `${image.id}.digests` };
      DigestFile.create(images.digestsPathOf(sealed), Math.ceil(image.lengthBytes / 4096)).close();
      await images.write(sealed);
      return await diskOf(model, { image: sealed, content: new Uint8Array(0) });
    }),
  );
  return await model.add(firstMemory(model.memoryBytes), null, "device", disks);
}

/** The VM's QEMU, stopped, with its disks. */
async function launch(t: Test, { vm }: Rig): Promise<QmpClient> {
  const disks = diskSpecs(vm, await currentChains(vm));
  return (await launchTestQemu(t, { disks, paused: true })).qmp;
}

async function io(qmp: QmpClient, device: string, command: string): Promise<void> {
  const line = `qemu-io -d /machine/peripheral/${device} "${command}"`;
  const said = await qmp.execute<string>("human-monitor-command", { "command-line": line });
  if (said !== "") throw new Error(said);
}

const current = async ({ vm }: Rig) => await vm.store.images.current();

t.test("formats and sizes of the operator's files are filled in when a VM is defined", async (t) => {
  const { vm } = await newRig(t);
  t.match(vm.definition.disks, [
    { id: "root", format: "raw", sizeBytes: size },
    { id: "log", format: "qcow2", sizeBytes: 1 << 20 },
  ]);
  t.strictSame(await resolveDisks(vm.definition, vm.store.images), vm.definition, "and stay as they are");
});

t.test("what a guest writes to a raw disk does not make it qcow2", async (t) => {
  const { folder, vm } = await newRig(t);
  writeFileSync(join(folder, "root.img"), qcow2().subarray(0, 5120));
  const known = { ...vm.definition.disks[0], sizeBytes: null };
  const { disks } = await resolveDisks({ ...vm.definition, disks: [known] }, vm.store.images);
  t.match(disks, [{ format: "raw", sizeBytes: 5120 }]);
});

t.test("files that cannot move are refused when a VM is defined, with the disk's name", async (t) => {
  const { folder, vm, define } = await newRig(t);
  const put = (name: string, bytes: Uint8Array | string) => writeFileSync(join(folder, name), bytes);
  put("odd.img", new Uint8Array(1000));
  put("text.qcow2", "no qcow2");
  put("unsaid.qcow2", qcow2({ file: "root.img" }));
  put("remote.qcow2", qcow2({ file: "nbd://host/x", format: "raw" }));
  put("broken.qcow2", qcow2({ file: "gone.img", format: "raw" }));
  mkdirSync(join(folder, "folder"));
  symlinkSync("root.img", join(folder, "link.img"));
  const refused: [string, RegExp][] = [
    ["{id: a, file: gone.img}", /ENOENT/],
    ["{id: a, file: folder}", /is not a regular file/],
    ["{id: a, file: odd.img}", /odd\.img has 1000 bytes, which is no multiple of 512/],
    ["{id: a, file: root.img, size: 2MiB}", /root\.img has 1049088 bytes, the definition says 2097152/],
    ["{id: a, file: root.img, format: qcow2}", /Cannot use disk image .*root\.img/],
    ["{id: a, file: text.qcow2, format: qcow2}", /Cannot use disk image .*text\.qcow2/],
    ["{id: a, file: unsaid.qcow2}", /does not say the format of root\.img/],
    ["{id: a, file: remote.qcow2}", /which is not a file/],
    ["{id: a, file: broken.qcow2}", /ENOENT/],
    ["{id: a}", /it has no file; name an image in its field 'file'/],
  ];
  for (const [disk, message] of refused) {
    const resolving = resolveDisks(define(`[${disk}]`), vm.store.images);
    await t.rejects(resolving, { ...endsAs("usage"), message: /^Cannot use disk a: / }, disk);
    await t.rejects(resolving, message, disk);
  }
  await t.resolves(
    resolveDisks(define("[{id: a, file: link.img}]"), vm.store.images),
    "a link is good enough",
  );
  t.strictSame(readdirSync(vm.store.images.path), [], "nothing was written");
});

t.test("a disk that came here needs no file, as long as its image is known", async (t) => {
  const { vm, define } = await newRig(t);
  await vm.store.images.setCurrent({ format: 1, images: { a: "a-0000000a" }, aside: [] });
  const { disks } = await resolveDisks(define("[{id: a}]"), vm.store.images);
  t.match(disks, [{ id: "a", file: null, sizeBytes: null }]);
});

t.test(
  "a VM begins on the operator's files, and goes on with them until a generation names them",
  async (t) => {
    const rig = await newRig(t);
    const { vm, folder } = rig;
    await prepareDisks(site, vm);
    const begun = await current(rig);
    t.match(await currentChains(vm), [
      [{ disk: "root", file: join(folder, "root.img"), imageFormat: "raw", backing: null, digests: null }],
      [{ disk: "log", file: join(folder, "log.qcow2"), imageFormat: "qcow2" }],
    ]);
    await prepareDisks(site, vm);
    t.strictSame(await current(rig), begun, "a second start changes nothing");
    t.notOk(existsSync(join(vm.runPath, "blocks")), "and needs no block host");
  },
);

t.test("a VM never begins on an image that a generation names", async (t) => {
  const rig = await newRig(t);
  const { vm } = rig;
  await prepareDisks(site, vm);
  const { images: before } = await current(rig);
  const { manifest } = await seal(rig);
  t.strictSame(manifest.disks.map(({ image }) => image).sort(), Object.values(before).sort());
  await prepareDisks(site, vm);
  const { images: after } = await current(rig);
  for (const name of ["root", "log"]) {
    t.not(after[name], before[name]);
    const [overlay, below] = await vm.store.images.chain(after[name]);
    t.equal(below.id, before[name]);
    t.match(overlay, { disk: name, lengthBytes: below.lengthBytes, imageFormat: "qcow2", digests: null });
    t.ok(existsSync(vm.store.images.pathOf(overlay)));
  }
  const qmp = await launch(t, rig);
  const nodes = await blockNodes(qmp);
  for (const disk of await legDisks(vm, qmp)) {
    t.equal(disk.image.id, after[disk.name]);
    t.match(bitmapsOf(nodes, disk.node), [
      { name: sinceBitmapName(before[disk.name]), recording: true, persistent: true },
    ]);
  }
});

t.test("an image that is gone, or a disk that was never here, is told by its name", async (t) => {
  const rig = await newRig(t);
  const { vm, folder } = rig;
  await t.rejects(currentChains(vm), {
    ...endsAs("failed"),
    message: "Cannot use disk root: nothing is recorded of it here",
  });
  rmSync(join(folder, "root.img"));
  await t.rejects(prepareDisks(site, vm), /root\.img/);
  vm.definition = { ...vm.definition, disks: [{ ...vm.definition.disks[0], file: null }] };
  await t.rejects(prepareDisks(site, vm), {
    ...endsAs("failed"),
    message: "Cannot use disk root: it has no file, and no image of it is here",
  });
});

t.test("a disk whose definition names another file begins with that one", async (t) => {
  const rig = await newRig(t);
  const { vm, folder } = rig;
  await prepareDisks(site, vm);
  const before = await current(rig);
  await forgetReplacedFiles(vm, vm.definition);
  t.strictSame(await current(rig), before);
  writeFileSync(join(folder, "new.img"), new Uint8Array(4096));
  const [root, log] = vm.definition.disks;
  const next = {
    ...vm.definition,
    disks: [{ ...root, file: join(folder, "new.img"), sizeBytes: 4096 }, log],
  };
  await forgetReplacedFiles(vm, next);
  t.strictSame((await current(rig)).images, { log: before.images["log"] });
  vm.definition = next;
  await prepareDisks(site, vm);
  t.match(await currentChains(vm), [
    [{ file: join(folder, "new.img"), lengthBytes: 4096 }],
    [{ disk: "log" }],
  ]);
  await forgetReplacedFiles(vm, { ...next, disks: [log] });
  t.strictSame(
    Object.keys((await current(rig)).images),
    ["log"],
    "a disk that is not defined any more is forgotten",
  );
});

t.test(
  "a VM that is restarted from a generation gets images over its, and what it had is kept aside",
  async (t) => {
    const rig = await newRig(t);
    const { vm } = rig;
    await prepareDisks(site, vm);
    const { images: first } = await current(rig);
    const { manifest } = await seal(rig);
    await prepareDisks(site, vm);
    const { images: second } = await current(rig);
    const overlays = await overlaysOnGeneration(site, vm, manifest);
    t.strictSame((await current(rig)).images, second, "nothing is in force yet");
    for (const [name, id] of Object.entries(overlays)) {
      const [, below] = await vm.store.images.chain(id);
      t.equal(below.id, first[name]);
    }
    await recordRecovered(vm, overlays);
    t.strictSame(await current(rig), { format: 1, images: overlays, aside: [second["root"], second["log"]] });
    const again = await overlaysOnGeneration(site, vm, manifest);
    await recordRecovered(vm, again);
    t.strictSame((await current(rig)).aside, [...Object.values(second), ...Object.values(overlays)]);
    t.equal(await vm.store.sweepImages(), 0, "all of them are kept");
    vm.definition = { ...vm.definition, disks: vm.definition.disks.slice(1) };
    await t.rejects(overlaysOnGeneration(site, vm, manifest), {
      ...endsAs("failed"),
      message: "Cannot use disk root: web1 is defined without it",
    });
  },
);

t.test("what the VM wrote to is not kept aside where a generation names it", async (t) => {
  const rig = await newRig(t);
  const { vm } = rig;
  await prepareDisks(site, vm);
  const { manifest } = await seal(rig);
  const overlays = await overlaysOnGeneration(site, vm, manifest);
  await recordRecovered(vm, overlays);
  t.strictSame((await current(rig)).aside, []);
});

t.test("a leg finds each disk in QEMU, whatever its bus, and refuses one that was resized", async (t) => {
  const rig = await newRig(t);
  const { vm } = rig;
  await prepareDisks(site, vm);
  const qmp = await launch(t, rig);
  const disks = await legDisks(vm, qmp);
  const nodes = await blockNodes(qmp);
  t.match(disks, [
    { name: "root", bus: "virtio-blk", lengthBytes: size, granularityBytes: 65536, image: { disk: "root" } },
    { name: "log", bus: "virtio-scsi", lengthBytes: 1 << 20, image: { disk: "log" } },
  ]);
  for (const { node, lengthBytes } of disks) t.equal(nodes.get(node)?.image["virtual-size"], lengthBytes);
  const missing = { ...vm.definition.disks[0], id: "gone" };
  vm.definition = { ...vm.definition, disks: [missing] };
  await t.rejects(legDisks(vm, qmp), { ...endsAs("failed"), message: /disk gone: QEMU has no block device/ });
  vm.definition = await resolveDisks({ ...vm.definition, disks: disksOf(rig) }, vm.store.images);
  await qmp.execute("block_resize", { "node-name": disks[1].node, size: 2 << 20 });
  await t.rejects(legDisks(vm, qmp), {
    ...endsAs("aborted"),
    message:
      "Cannot use disk log: it was resized from 1048576 to 2097152 bytes; a disk that moves keeps its size",
  });
});

function disksOf({ define }: Rig) {
  return define("[{id: root, file: root.img}, {id: log, file: log.qcow2, bus: virtio-scsi}]").disks;
}

t.test("a VM that is taken back writes to new images where its state is complete here", async (t) => {
  const rig = await newRig(t);
  const { vm, folder } = rig;
  await prepareDisks(site, vm);
  const qmp = await launch(t, rig);
  await io(qmp, "root/virtio-backend", "write -q -P 5 0 4096");
  const { images: before } = await current(rig);
  await seal(rig);
  await runAgain(vm, qmp);
  const { images: after } = await current(rig);
  t.equal((await qmp.execute<{ running: boolean }>("query-status")).running, true);
  await io(qmp, "root/virtio-backend", "write -q -P 6 0 4096");
  await io(qmp, "log", "write -q -P 6 0 4096");
  t.ok(
    readFileSync(join(folder, "root.img"))
      .subarray(0, 4096)
      .every((byte) => byte === 5),
    "the old one stays",
  );
  const nodes = await blockNodes(qmp);
  for (const { name, node, image } of await legDisks(vm, qmp)) {
    t.not(image.id, before[name]);
    t.equal(image.id, after[name]);
    t.equal(image.backing, before[name]);
    t.match(bitmapsOf(nodes, node), [{ name: sinceBitmapName(before[name]), count: 65536, recording: true }]);
  }
  await runAgain(vm, qmp);
  t.strictSame((await current(rig)).images, after, "images that no generation names stay in use");
});

t.test("disks of a VM that somebody else started are taken note of", async (t) => {
  const rig = await newRig(t);
  const { vm, folder } = rig;
  const file = { driver: "file", filename: join(folder, "root.img"), "node-name": "somebody-f" };
  const nodes = [{ driver: "raw", "node-name": "somebody", file }];
  const [root] = vm.definition.disks;
  const theirs = { id: "root", bus: "virtio-blk" as const, nodes };
  const { qmp } = await launchTestQemu(t, { disks: [theirs], paused: true });
  await t.rejects(adoptDisks(vm, qmp), {
    ...endsAs("failed"),
    message: /disk log: QEMU has no block device/,
  });
  vm.definition = { ...vm.definition, disks: [{ ...root, file: null }] };
  await adoptDisks(vm, qmp);
  const chains = await currentChains(vm);
  t.match(chains, [
    [{ disk: "root", file: join(folder, "root.img"), lengthBytes: size, imageFormat: "raw" }],
  ]);
  t.match(await legDisks(vm, qmp), [{ name: "root", node: "somebody", lengthBytes: size }]);
});

t.test("a VM without disks has nothing to prepare, record or find", async (t) => {
  const rig = await newRig(t);
  const { vm } = rig;
  vm.definition = { ...vm.definition, disks: [] };
  await prepareDisks({ ...site, qemu: { ...site.qemu, binary: "/no/program" } }, vm);
  await recordRecovered(vm, {});
  const { qmp } = await launchTestQemu(t, { paused: true });
  await adoptDisks(vm, qmp);
  await runAgain(vm, qmp);
  t.strictSame(await legDisks(vm, qmp), []);
  t.strictSame(await currentChains(vm), []);
  t.notOk(existsSync(join(vm.store.path, "disks.json")));
});
