/** Retained disk images that were altered behind our back while the VM was elsewhere, or ran on them. */

import { open } from "node:fs/promises";
import t from "tap";
import { DiskRig } from "./disk-rig.ts";
import { differences } from "./memory.ts";

const MIB = 1 << 20;
/** A pattern that is nowhere else in the image's file. */
const pattern = 0x5a;

/** Images that came with a leg are qcow2; the one at the first site is what its operator gave. */
const places = [
  { where: "destination", kind: "raw" },
  { where: "destination", kind: "qcow2" },
  { where: "source", kind: "qcow2" },
] as const;

for (const { where, kind } of places) {
  for (const isHidden of [true, false]) {
    const what = isHidden ? "a block that the VM has written anew" : "a block that the VM still has";
    t.test(`a retained ${kind} image is altered at the ${where}, in ${what}`, async (t) => {
      const initial = [`write -P ${pattern} 5M 64k`, "write -P 17 20M 4M"];
      const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 64 * MIB, kind, initial }]);
      const { rig } = disks;
      await rig.migrate("a", "b");
      await rig.untilAlive("b");
      await Promise.all([rig.idle("a"), rig.idle("b")]);
      await disks.io("b", "disk0", "write -P 18 21M 512k");
      if (isHidden) await disks.fill("b", "disk0", 5 * MIB, 64 * 1024);
      const site = where === "source" ? "b" : "a";
      await flipByte(await disks.generationImage(site, 1, "disk0"));
      // What the VM itself reads is changed then: nothing can bring that back, but the sites must agree.
      if (where === "source" && !isHidden) await flipByte(disks.twinPath("disk0"));

      const { done, source, destination, different } = await disks.comparedLeg("b", "a");
      t.equal(done.leg, "first", "the damaged generation is not built on");
      t.strictSame(different, [], "both sites' disks are what the guest has made of them");
      t.equal(differences(source, destination), "", "and so is memory");
      t.match(rig.site(site).logTail, /Generation 1 of demo is damaged and set aside/);
      await rig.untilAlive("a");
      t.strictSame(await disks.differences("a"), [], "they are so when the VM runs, too");
      t.ok((await rig.generationFolders(site)).some((name) => name.startsWith("damaged-1-")));

      await disks.io("a", "disk0", "write -P 19 22M 512k");
      const next = await disks.comparedLeg("a", "b");
      t.equal(next.done.leg, "return", "the next leg builds on the new generation");
      t.strictSame(next.different, []);
      await rig.untilAlive("b");
      t.strictSame(await disks.differences("b"), []);
      t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
    });
  }
}

/** Alters a byte where the image's file has the pattern. */
async function flipByte(path: string): Promise<void> {
  const file = await open(path, "r+");
  try {
    const at = (await file.readFile()).indexOf(Buffer.alloc(4096, pattern));
    if (at < 0) throw new Error(`${path} has no block of the pattern`);
    await file.write(Uint8Array.of(pattern ^ 0x10), 0, 1, at);
    await file.sync();
  } finally {
    await file.close();
  }
}
