/** Retained disk images that were altered behind our back while the VM was elsewhere, or ran on them. */

import { open, rm, stat, truncate } from "node:fs/promises";
import t from "tap";
import { DiskRig } from "./disk-rig.ts";
import { differences } from "./memory.ts";

const MIB = 1 << 20;
/** It is nowhere else in the image's file. */
const pattern = 0x5a;

interface Damage {
  readonly name: string;
  readonly where: "destination" | "source";
  /** Images that came with a leg are qcow2; the one at the first site is what its operator gave. */
  readonly kind: "raw" | "qcow2";
  readonly harm: (path: string) => Promise<void>;
  /** The VM has written the damaged block anew. */
  readonly isHidden: boolean;
}

const flips = [
  { where: "destination", kind: "raw" },
  { where: "destination", kind: "qcow2" },
  { where: "source", kind: "qcow2" },
] as const;

const damages: readonly Damage[] = [
  ...flips.flatMap((place) =>
    [true, false].map((isHidden) => ({
      ...place,
      name: `is altered in a block that the VM ${isHidden ? "has written anew" : "still has"}`,
      harm: flipByte,
      isHidden,
    })),
  ),
  { name: "is gone", where: "destination", kind: "raw", harm: (path) => rm(path), isHidden: false },
  { name: "is cut short", where: "destination", kind: "qcow2", harm: cut, isHidden: false },
];

for (const { name, where, kind, harm, isHidden } of damages) {
  t.test(`a retained ${kind} image at the ${where} ${name}`, async (t) => {
    const initial = [`write -P ${pattern} 5M 64k`, "write -P 17 20M 4M"];
    const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 64 * MIB, kind, initial }]);
    const { rig } = disks;
    await rig.migrate("a", "b");
    await rig.untilAlive("b");
    await Promise.all([rig.idle("a"), rig.idle("b")]);
    await disks.io("b", "disk0", "write -P 18 21M 512k");
    if (isHidden) await disks.fill("b", "disk0", 5 * MIB, 64 * 1024);
    const site = where === "source" ? "b" : "a";
    await harm(await disks.generationImage(site, 1, "disk0"));
    // What the VM itself reads is changed then: nothing can bring that back, but the sites must agree.
    if (where === "source" && !isHidden) await harm(disks.twinPath("disk0"));

    const { done, source, destination, different } = await disks.comparedLeg("b", "a");
    t.equal(done.leg, "first", "the damaged generation is not built on");
    t.strictSame(different, [], "both sites' disks are what the guest has made of them");
    t.equal(differences(source, destination), "", "and so is memory");
    // The leg finds it, or the check that a site makes when it has nothing to do.
    t.match(rig.site(site).log, /Generation 1 of demo is damaged and set aside|damaged and was set aside/);
    await rig.untilAlive("a");
    t.strictSame(await disks.differences("a"), [], "they are so when the VM runs, too");
    t.ok((await rig.generationFolders(site)).some((folder) => folder.startsWith("damaged-1-")));

    await disks.io("a", "disk0", "write -P 19 22M 512k");
    const next = await disks.comparedLeg("a", "b");
    t.equal(next.done.leg, "return", "the next leg builds on the new generation");
    t.strictSame(next.different, []);
    await rig.untilAlive("b");
    t.strictSame(await disks.differences("b"), []);
    t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  });
}

/** Alters a byte where the file has the pattern. */
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

async function cut(path: string): Promise<void> {
  await truncate(path, Math.floor((await stat(path)).size / 2));
}
