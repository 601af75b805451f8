import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { makeExt4Image } from "../../cli/experiments/guest/ext4.ts";
import { LinuxConsole } from "../../cli/experiments/guest/linux-console.ts";
import { qemuArguments } from "../../cli/qemu/arguments.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { isRunning } from "../../cli/qemu/qmp-client.ts";
import { QEMU_BINARY, temporaryFolder } from "../qemu/qemu-fixture.ts";
import { testMachine } from "../qemu/test-qemu.ts";
import { LINUX_GUEST_MEMORY_BYTES, linuxArguments, prepareLinuxGuest } from "./linux-guest.ts";
import { guestFileContent, guestFileSum } from "./linux-guest-content.ts";
import { checkExt4, convertToRaw, readExt4File, sumExt4File } from "./linux-guest-ext4.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const DISK_BYTES = 256 * MIB;

const disks = [
  { name: "virtio-blk, raw", disk: "vda", format: "raw", devices: ["virtio-blk-pci,drive=disk"] },
  {
    name: "virtio-scsi, qcow2",
    disk: "sda",
    format: "qcow2",
    devices: ["virtio-scsi-pci", "scsi-hd,drive=disk"],
  },
] as const;

for (const { name, disk, format, devices } of disks) {
  t.test(`a Linux guest keeps files on ${name}, and the host reads the same`, async (t) => {
    const folder = await temporaryFolder(t);
    const image = join(folder, "disk.img");
    await makeExt4Image(image, DISK_BYTES, format);
    const node = `driver=${format},node-name=disk,discard=unmap,file.driver=file,file.filename=${image},file.discard=unmap`;
    const { qemu, guest } = await boot(t, folder, disk, [
      ...["-blockdev", node],
      ...devices.flatMap((device) => ["-device", device]),
    ]);

    await guest.command("write a 20000 7");
    await guest.command("write b 33 123456");
    t.equal(await guest.command("sum a"), guestFileSum(20000, 7), "a file of several MiB");
    t.equal(await guest.command("sum b"), guestFileSum(33, 123456), "a small one");

    await guest.command("write c 40000 8");
    const before = (await stat(image)).blocks;
    await guest.command("delete c");
    await guest.command("trim");
    const freedBytes = (before - (await stat(image)).blocks) * 512;
    t.ok(freedBytes > 30 * MIB, `a deleted file is gone from the image after trim: ${freedBytes} bytes`);

    await guest.command("load 2048 1024");
    await waitFor("five rounds of the load", async () => Number(await guest.command("count")) >= 5 || null);
    const counter = Number(await guest.command("unload"));
    t.equal(Number(await guest.command("count")), counter, "every counter that was confirmed is on the disk");
    const loadSum = await guest.command("sum load");
    t.not(loadSum, guestFileSum(1024, 0), "the load has changed its file");

    t.equal(await guest.command("tick"), "1");
    t.equal(await guest.command("tick"), "2");
    t.ok(Number(await guest.command("uptime")) > 0);
    const bootId = await guest.command("boot");
    const free = Number(await guest.command("free"));

    await guest.command("umount");
    await t.rejects(guest.command("write d 1 1"), { message: /the disk is not mounted/ });
    await guest.command("mount");
    await t.rejects(guest.command("dance"), { message: /unknown command dance/ });
    t.equal(await guest.command("sum a"), guestFileSum(20000, 7), "the same after unmounting and mounting");
    t.equal(Number(await guest.command("free")), free);
    t.equal(await guest.command("boot"), bootId);
    await guest.command("umount");
    guest.close();
    await qemu.quit();

    const raw = format === "raw" ? image : join(folder, "raw.img");
    if (format !== "raw") await convertToRaw(image, raw);
    await checkExt4(raw);
    t.ok((await readExt4File(raw, "a")).equals(guestFileContent(20000, 7)), "byte for byte");
    t.equal(await sumExt4File(raw, "b"), guestFileSum(33, 123456));
    t.equal(await sumExt4File(raw, "load"), loadSum);
    const lines = (await readExt4File(raw, "journal")).toString();
    t.equal(lines, Array.from({ length: counter }, (_, i) => `${i + 1}\n`).join(""), "the load's journal");
    await t.rejects(readExt4File(raw, "c"), { message: /not found/i });
  });
}

t.test("a console follows its guest to another QEMU, also in the middle of a command", async (t) => {
  const folder = await temporaryFolder(t);
  const image = join(folder, "disk.img");
  await makeExt4Image(image, DISK_BYTES);
  const devices = [
    ...["-blockdev", `driver=raw,node-name=disk,file.driver=file,file.filename=${image}`],
    ...["-device", "virtio-blk-pci,drive=disk"],
  ];
  const source = await boot(t, join(folder, "a"), "vda", devices);
  const { guest } = source;
  await guest.command("load 1024 1024");
  await guest.command("write a 20000 7");
  t.equal(await guest.command("tick"), "1");
  const bootId = await guest.command("boot");

  const destination = await launch(t, join(folder, "b"), "vda", devices, true);
  const uri = `unix:${join(folder, "migration.sock")}`;
  await destination.qemu.qmp.execute("migrate-incoming", { uri });
  const summing = guest.command("sum a");
  summing.catch(() => {});
  await source.qemu.qmp.execute("migrate", { uri });
  await waitFor("the VM runs at the destination", async () => {
    return (await isRunning(destination.qemu.qmp)) || null;
  });
  await source.qemu.quit();
  await guest.reconnect(destination.consolePath);
  t.equal(await summing, guestFileSum(20000, 7), "the answer that was under way");
  t.equal(await guest.command("tick"), "2", "it is the same guest");
  t.equal(await guest.command("boot"), bootId);
  const before = Number(await guest.command("count"));
  await waitFor("the load goes on", async () => Number(await guest.command("count")) > before || null);

  guest.close();
  const another = await LinuxConsole.connect(destination.consolePath);
  t.teardown(() => another.close());
  await another.ready();
  t.ok(Number(await another.command("unload")) > before, "another console can take over");
  await another.command("umount");
  await destination.qemu.quit();
  await t.rejects(another.command("tick", 100), { message: /no answer in 100 ms \(not connected\)/ });
  await checkExt4(image);
});

t.test("a guest that cannot be made says why", async (t) => {
  const folder = await temporaryFolder(t);
  const { PATH, BFMIG_TEST_CACHE } = process.env;
  t.teardown(() => {
    process.env["PATH"] = PATH;
    if (BFMIG_TEST_CACHE === undefined) delete process.env["BFMIG_TEST_CACHE"];
    else process.env["BFMIG_TEST_CACHE"] = BFMIG_TEST_CACHE;
  });
  process.env["PATH"] = folder;
  process.env["BFMIG_TEST_CACHE"] = folder;
  await t.rejects(prepareLinuxGuest(), {
    message: /^Cannot get Debian's packages for the Linux guest: .*ENOENT/,
  });
  t.strictSame(await readdir(folder), [], "nothing half made is left");
});

interface Launched {
  readonly qemu: QemuProcess;
  readonly consolePath: string;
}

/** Starts a QEMU with the guest; it is killed after the test. */
async function launch(
  t: Test,
  runDir: string,
  disk: string,
  devices: string[],
  incoming: boolean,
): Promise<Launched> {
  const guest = await prepareLinuxGuest();
  const consolePath = join(runDir, "console.sock");
  const args = qemuArguments({
    name: "linux",
    machine: testMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes: LINUX_GUEST_MEMORY_BYTES,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    incoming,
    paused: false,
    extra: [...linuxArguments(guest, consolePath, { disk }), ...devices],
  });
  const qemu = await launchQemu(QEMU_BINARY, args, { runDir, name: "linux" });
  t.teardown(() => qemu.kill());
  return { qemu, consolePath };
}

/** Starts the guest and waits until it obeys. */
async function boot(
  t: Test,
  runDir: string,
  disk: string,
  devices: string[],
): Promise<Launched & { guest: LinuxConsole }> {
  const launched = await launch(t, runDir, disk, devices, false);
  const guest = await LinuxConsole.connect(launched.consolePath);
  t.teardown(() => guest.close());
  await guest.ready();
  return { ...launched, guest };
}
