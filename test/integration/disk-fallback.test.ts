/** Bitmaps that are not there or cannot be trusted: the leg compares more, says so, and is right. */

import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { sinceBitmapName } from "../../cli/disk/dirty-bitmaps.ts";
import { DiskRig } from "./disk-rig.ts";

const MIB = 1 << 20;

t.test("a leg is right though the bitmap of what changed is lost or inconsistent", async (t) => {
  const disks = await DiskRig.boot(t, [
    { id: "disk0", lengthBytes: 96 * MIB + 512, kind: "template", initial: ["write -P 3 0 24M"] },
    { id: "disk1", lengthBytes: 64 * MIB, bus: "virtio-scsi", initial: ["write -P 4 8M 8M"] },
  ]);
  const { rig } = disks;

  /** Changes of all kinds; `n` makes them differ. */
  const change = async (site: string, n: number) => {
    await disks.fill(site, "disk0", (2 + n) * MIB, 300 * 1024);
    await disks.io(site, "disk0", `write -P ${n} ${96 * MIB} 512`);
    await disks.io(site, "disk0", `write -z ${10 + n}M 256k`);
    await disks.io(site, "disk0", `discard ${16 + n}M 1M`);
    await disks.io(site, "disk1", `write -P ${50 + n} ${(40 + n) * MIB} 64k`);
  };
  const leg = async (t: Test, from: string, to: string) => {
    const { done, source, destination, different } = await disks.comparedLeg(from, to);
    t.strictSame(different, [], "both sites' disks are what the guest has made of them");
    t.ok(source.equals(destination), "and so is memory");
    await rig.untilAlive(to);
    t.strictSame(await disks.differences(to), []);
    return done;
  };
  const distrusted = (site: string) =>
    [
      ...rig
        .site(site)
        .logTail.matchAll(/Disk (\w+): the bitmap of what changed cannot be trusted \(([^)]*)\)/g),
    ].map(([, disk, why]) => `${disk}: ${why}`);

  await change("a", 0);
  await leg(t, "a", "b");

  await t.test("deleted by hand", async (t) => {
    await change("b", 1);
    const monitor = await rig.monitor("b");
    const [active] = await currentImages(disks, "b", "disk0");
    const name = sinceBitmapName(active.backing as string);
    await monitor.execute("block-dirty-bitmap-remove", { node: await disks.node("b", "disk0"), name });
    await change("b", 2);
    const done = await leg(t, "b", "a");
    t.strictSame(distrusted("b"), ["disk0: it is not there"], "the log says so, of this disk alone");
    t.equal(done.leg, "return");
    t.ok(done.diskWireBytes < 2 * MIB, `${done.diskWireBytes} bytes on the WAN`);
  });

  await t.test("inconsistent since QEMU was killed", async (t) => {
    await change("a", 3);
    await rig.killQemu("a");
    await rig.site("a").ask("start", { vm: guestName });
    await rig.onConsole("a", (guest) => guest.ready());
    t.strictSame(await disks.differences("a"), [], "the VM starts on what it had written");
    await change("a", 4);
    const done = await leg(t, "a", "b");
    t.match(distrusted("a"), [/disk0: .*inconsistent/, /disk1: .*inconsistent/], "the log says so");
    t.equal(done.leg, "return");
    t.ok(done.diskWireBytes < 3 * MIB, `${done.diskWireBytes} bytes on the WAN`);
  });

  await t.test("after that bitmaps are trusted again", async (t) => {
    const before = distrusted("b");
    await change("b", 5);
    await leg(t, "b", "a");
    t.strictSame(distrusted("b"), before, "the log says nothing new");
  });

  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

async function currentImages(disks: DiskRig, site: string, id: string) {
  const { images } = await disks.store(site);
  return await images.chain((await images.current()).images[id] as string);
}
