/** Disks that travel between three sites, between which different things are known. */

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { DiskRig } from "./disk-rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const route = ["a", "b", "c", "a", "b", "a", "c"];

t.test("disks travel between three sites, and what a site had is not sent to it again", async (t) => {
  const disks = await DiskRig.boot(
    t,
    [
      { id: "disk0", lengthBytes: 96 * MIB + 3 * 512, kind: "template", initial: ["write -P 3 0 16M"] },
      { id: "disk1", lengthBytes: 64 * MIB, bus: "virtio-scsi", kind: "raw" },
    ],
    { siteNames: ["a", "b", "c"] },
  );
  const { rig } = disks;
  await disks.fill("a", "disk0", 20 * MIB, 12 * MIB);
  await disks.fill("a", "disk1", 4 * MIB, 4 * MIB);
  let firstBytes = 0;
  for (const [i, from] of route.slice(0, -1).entries()) {
    const to = route[i + 1] as string;
    await t.test(`leg ${i + 1}, ${from} to ${to}`, async (t) => {
      await disks.fill(from, "disk0", (20 + i) * MIB + 4096, 100 * 1024);
      await disks.io(from, "disk0", `write -P ${i} ${96 * MIB + 512} 1024`);
      await disks.io(from, "disk0", `write -z ${26 + i}M 256k`);
      await disks.io(from, "disk0", `discard ${i}M 128k`);
      await disks.fill(from, "disk1", i * 4096, 8192);
      // What an earlier leg has made of this range is undone.
      await disks.io(from, "disk1", `write -P ${i % 2} 32M 64k`);
      const { done, source, destination, different } = await disks.comparedLeg(from, to);
      t.strictSame(different, [], "both sites' disks are what the guest has made of them");
      t.ok(source.equals(destination), "and so is memory");
      await rig.untilAlive(to);
      t.strictSame(await disks.differences(to), [], "they are so when the VM runs, too");
      t.equal(done.leg, i < 2 ? "first" : "return");
      if (i === 0) firstBytes = done.diskWireBytes;
      else if (i > 1) t.ok(done.diskWireBytes < firstBytes / 10, `${done.diskWireBytes} after ${firstBytes}`);
      const travelled = new Set(route.slice(0, i + 2));
      // What the third site holds is told in the background after a leg.
      await waitFor(`${to} knows what the others hold`, async () => {
        const shown = await rig.site(to).ask("show", { vm: guestName });
        const { holders } = shown as unknown as { holders: object };
        return [...travelled].every((site) => site === to || site in holders) || null;
      });
    });
  }
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b", "c"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});
