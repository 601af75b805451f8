/**
 * There and back on QEMUs and machines other than the usual ones, and between two versions of QEMU, which also restart
 * what the other one has left. Few legs, but memory and disks are compared byte by byte; `npm run test:all` runs the
 * other tests on them.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { probeQemu, type QemuProbe } from "../../cli/qemu/probe.ts";
import { DiskRig } from "./disk-rig.ts";
import type { GuestModel } from "./guest-model.ts";
import { differences } from "./memory.ts";

interface Backports {
  readonly backportedQemu: string;
  backportedQemuReady(): boolean;
  whyNoBackportedQemu(): string;
}

/** What memory and disks must contain when a generation is restarted. */
interface Retained {
  readonly model: GuestModel;
  readonly twins: ReadonlyMap<string, string>;
}

interface Configuration {
  readonly name: string;
  readonly machine: string;
  /** The sites' programs. */
  readonly a: string;
  readonly b: string;
}

const MIB = 1 << 20;
const route = [
  ["a", "b"],
  ["b", "a"],
  ["a", "b"],
] as const;
const backports = (await import(
  pathToFileURL(join(process.cwd(), ".ci/qemu-backports.mjs")).href
)) as Backports;
const older = "qemu-system-x86_64";
const newer = backports.backportedQemu;

const configurations: readonly Configuration[] = [
  { name: "the system's QEMU, q35", machine: "pc-q35-7.2", a: older, b: older },
  { name: "QEMU 10.0, pc", machine: "pc-i440fx-10.0", a: newer, b: newer },
  { name: "QEMU 10.0, q35", machine: "pc-q35-10.0", a: newer, b: newer },
  { name: "the system's QEMU and 10.0, pc", machine: "pc-i440fx-7.2", a: older, b: newer },
  { name: "the system's QEMU and 10.0, q35", machine: "pc-q35-7.2", a: older, b: newer },
];

for (const { name, machine, a, b } of configurations) {
  const needsNewer = b === newer && !backports.backportedQemuReady();
  const options = needsNewer ? { skip: backports.whyNoBackportedQemu() } : {};
  t.test(`a VM with disks goes there and back: ${name}`, options, async (t) => {
    const probes = { a: await probeQemu(a), b: await probeQemu(b) };
    t.comment(`${versionOf(probes.a)} and ${versionOf(probes.b)}`);
    if (b === newer) t.match(probes.b.version, [10, 0], "the newer QEMU is the one that was unpacked");
    if (a !== b) t.ok(probes.a.version[0] < 10, "the other one is older");
    const disks = await DiskRig.boot(
      t,
      [
        { id: "disk0", lengthBytes: 32 * MIB, initial: ["write -P 3 0 4M"] },
        { id: "disk1", lengthBytes: 16 * MIB + 512, bus: "virtio-scsi" },
      ],
      { machine, qemuBinaryAt: { a, b }, keep: 10 },
    );
    const { rig } = disks;
    const retained = new Map<number, Retained>();
    let firstLegBytes = 0;
    for (const [leg, [from, to]] of route.entries()) {
      await rig.change(from, "refill", 512 + leg * 64, 32);
      await disks.fill(from, "disk0", (leg + 1) * MIB, 200 * 1024);
      await disks.io(from, "disk1", `write -P ${leg + 1} ${16 * MIB} 512`);
      const { done, source, destination, different } = await disks.comparedLeg(from, to);
      t.equal(differences(source, destination), "", `leg ${leg + 1}: no page differs between the sites`);
      t.strictSame(rig.model.check(source), [], "memory is what the guest should have made");
      t.strictSame(different, [], "and so are the disks of both sites");
      t.equal(done.leg, leg === 0 ? "first" : "return");
      retained.set(done.generation, { model: rig.model.copy(), twins: await disks.keepTwins() });
      if (leg === 0) firstLegBytes = done.wireBytes;
      else t.ok(done.wireBytes < firstLegBytes / 4, `${done.wireBytes} bytes after ${firstLegBytes}`);
      await rig.untilAlive(to);
      t.strictSame((await rig.monitor(to)).version, probes[to].version, `it runs on the QEMU of ${to}`);
    }
    t.strictSame(rig.model.check(await rig.stoppedDump("b")), [], "the guest's memory is right in the end");
    if (a !== b) await restartAll(t, disks, retained);
    t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
    const { findings } = await rig.verifyStores(["a", "b"]);
    t.strictSame(findings, [], "the verifier finds nothing wrong");
  });
}

/** Each site restarts what the other one's QEMU has saved, and a also what its own has: by then b is lost. */
async function restartAll(t: Test, disks: DiskRig, retained: ReadonlyMap<number, Retained>): Promise<void> {
  const { rig } = disks;
  const restart = async (site: string, generation: number, force: boolean) => {
    const { model, twins } = retained.get(generation) as Retained;
    await rig.site(site).ask("recover", { vm: guestName, generation, force });
    await disks.restoreTwins(twins);
    await rig.untilAlive(site);
    const memory = await rig.stoppedDump(site);
    t.strictSame(model.check(memory), [], `memory of generation ${generation}, restarted at ${site}`);
    t.strictSame(await disks.differences(site), [], "and its disks");
    await rig.killQemu(site);
  };
  await rig.killQemu("b");
  await restart("b", 1, false);
  await rig.site("b").kill();
  await restart("a", 3, true);
  await restart("a", 2, false);
}

function versionOf({ versionText }: QemuProbe): string {
  return versionText.replace(/^QEMU emulator version /, "");
}
