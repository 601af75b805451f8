/** VMs whose QEMU somebody else started, with disks given in both of QEMU's ways. */

import { join } from "node:path";
import t, { type Test } from "tap";
import { guestArguments, guestName } from "../../cli/demo/testbed.ts";
import { qemuArguments } from "../../cli/qemu/arguments.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { launchQemu, type QemuProcess, qmpSocketPath } from "../../cli/qemu/process.ts";
import { testMachine, testQemu } from "../qemu/test-qemu.ts";
import { DiskRig } from "./disk-rig.ts";

const MIB = 1 << 20;

t.test("a VM that somebody else started is attached, and its disks move with it", async (t) => {
  const disks = await DiskRig.start(t, [
    { id: "disk0", lengthBytes: 64 * MIB + 512, initial: ["write -P 3 0 8M"] },
    {
      id: "disk1",
      lengthBytes: 32 * MIB,
      bus: "virtio-scsi",
      kind: "template",
      initial: ["write -P 4 8M 8M"],
    },
    { id: "disk2", lengthBytes: 16 * MIB, kind: "raw" },
  ]);
  const { rig } = disks;
  const { socketFolder } = rig.testbed;
  const qmpPath = join(socketFolder, "foreign.qmp");
  const [file0, file1, file2] = disks.disks.map(({ id }) => disks.filePath(id));
  const qemu = await foreignQemu(t, disks, [
    ...["-qmp", `unix:${qmpPath},server=on,wait=off`],
    // The devices stand in the same slots as where the VM arrives.
    ...["-device", "virtio-scsi-pci,id=bfmig-scsi"],
    ...["-drive", `if=none,id=disk0,file=${file0},format=qcow2,discard=unmap`],
    ...["-device", "virtio-blk-pci,drive=disk0"],
    ...["-blockdev", `driver=file,node-name=file1,filename=${file1},discard=unmap`],
    ...["-blockdev", "driver=qcow2,node-name=disk1,file=file1,discard=unmap"],
    ...["-device", "scsi-hd,bus=bfmig-scsi.0,drive=disk1"],
    ...["-blockdev", `driver=file,node-name=file2,filename=${file2},discard=unmap`],
    ...["-blockdev", "driver=raw,node-name=plain2,file=file2,discard=unmap"],
    ...["-device", "virtio-blk-pci,drive=plain2,id=disk2"],
  ]);
  await rig.onConsole("a", (guest) => guest.ready());
  await rig.site("a").ask("attach", { vm: guestName, qmpPath });

  let from = "a";
  for (const [n, to] of ["b", "a", "b"].entries()) {
    await disks.fill(from, "disk0", (2 + n) * MIB, 200 * 1024);
    await disks.io(from, "disk0", `write -P ${n} ${64 * MIB} 512`);
    await disks.io(from, "disk1", `write -P ${50 + n} ${n}M 64k`);
    await disks.io(from, "disk1", `discard ${9 + n}M 64k`);
    await disks.fill(from, "disk2", n * 4096 + 512, 4096);
    const { done, source, destination, different } = await disks.comparedLeg(from, to);
    t.strictSame(different, [], `${from} to ${to}: both sites' disks are what the guest has made of them`);
    t.ok(source.equals(destination), "and so is memory");
    await rig.untilAlive(to);
    t.strictSame(await disks.differences(to), []);
    t.equal(done.leg, n === 0 ? "first" : "return");
    if (n > 0) t.ok(done.diskWireBytes < MIB, `${done.diskWireBytes} bytes on the WAN`);
    if (n === 0) await qemu.exited;
    from = to;
  }
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

/** A QEMU of the rig's guest, which the test starts itself. */
async function foreignQemu(t: Test, { rig }: DiskRig, more: readonly string[]): Promise<QemuProcess> {
  const { socketFolder, imagePath, options } = rig.testbed;
  const runDir = join(socketFolder, "foreign");
  const args = qemuArguments({
    name: "foreign",
    machine: testMachine,
    cpu: "qemu64",
    accel: ["tcg"],
    memoryBytes: options.memoryBytes,
    memory: { kind: "ram" },
    qmpPath: qmpSocketPath(runDir),
    incoming: false,
    paused: false,
    extra: [
      ...guestArguments(imagePath, join(socketFolder, "a.tty")),
      ...["-qmp", `unix:${join(socketFolder, "a.mon")},server=on,wait=off`],
      ...more,
    ],
  });
  const { path } = await probeQemu(testQemu);
  const qemu = await launchQemu(path, args, { runDir, name: "foreign" });
  t.teardown(() => qemu.kill());
  return qemu;
}
