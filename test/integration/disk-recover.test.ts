/** Disks of a VM that is restarted: from a generation, from what it wrote last, or from a handover that failed. */

import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { DiskRig, type TestDisk } from "./disk-rig.ts";
import type { GuestModel } from "./guest-model.ts";
import { handoverToReleased } from "./handover.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const twoDisks: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 96 * MIB + 512, kind: "template", initial: ["write -P 3 0 16M"] },
  { id: "disk1", lengthBytes: 64 * MIB, bus: "virtio-scsi", kind: "raw", initial: ["write -P 4 8M 8M"] },
];

t.test(
  "recover restarts memory and disks of one instant, and never writes to what is retained",
  async (t) => {
    const disks = await DiskRig.boot(t, twoDisks, { keep: 10 });
    const { rig } = disks;
    const retained = new Map<
      number,
      { readonly model: GuestModel; readonly twins: ReadonlyMap<string, string> }
    >();
    const route = ["a", "b", "a", "b"];
    for (const [i, from] of route.slice(0, -1).entries()) {
      await change(disks, from, i);
      await rig.change(from, "rewrite", 100 * i, 300);
      const done = await leg(t, disks, from, route[i + 1] as string);
      retained.set(done.generation, { model: rig.model.copy(), twins: await disks.keepTwins() });
    }
    await change(disks, "b", 20);
    await rig.site("b").kill();
    await rig.killQemu("b");

    for (const generation of [3, 1, 2]) {
      await t.test(`generation ${generation}`, async (t) => {
        const { model, twins } = retained.get(generation)!;
        const hashes = await imageHashes(disks, "a", generation);
        const done = await rig
          .site("a")
          .ask("recover", { vm: guestName, generation, force: generation === 3 });
        t.equal(done["generation"], generation);
        await rig.untilAlive("a");
        await disks.restoreTwins(twins);
        t.strictSame(await disks.differences("a"), [], "its disks are as they were then");
        t.strictSame(model.check(await rig.stoppedDump("a")), [], "and so is its memory");
        await change(disks, "a", 30 + generation);
        t.strictSame(await disks.differences("a"), [], "it writes to them");
        t.strictSame(
          await imageHashes(disks, "a", generation),
          hashes,
          "the generation's images are untouched",
        );
        t.strictSame(await disks.generationDifferences("a", generation, twins), []);
        if (generation !== 2) await rig.killQemu("a");
      });
    }

    await t.test("legs to a site that begins anew, and back", async (t) => {
      await rm(join(rig.site("b").storePath, guestName), { recursive: true });
      await rig.testbed.restartSite("b");
      t.equal((await leg(t, disks, "a", "b")).leg, "first");
      await change(disks, "b", 40);
      t.equal((await leg(t, disks, "b", "a")).leg, "return");
    });

    t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
    const { findings } = await rig.verifyStores(["a", "b"]);
    t.strictSame(findings, [], "the verifier finds nothing wrong");
  },
);

t.test("a VM that is stopped and started where it arrived has its newest disks, and goes back", async (t) => {
  const disks = await DiskRig.boot(t, twoDisks);
  const { rig } = disks;
  await change(disks, "a", 0);
  await leg(t, disks, "a", "b");
  await change(disks, "b", 1);
  await rig.site("b").ask("stop", { vm: guestName, force: true, timeoutMs: 1000 });
  await rig.site("b").ask("start", { vm: guestName });
  await rig.onConsole("b", (guest) => guest.ready());
  t.strictSame(await disks.differences("b"), [], "they are as they were when it stopped");
  await change(disks, "b", 2);
  const there = await leg(t, disks, "b", "a");
  t.equal(there.leg, "return");
  t.notMatch(rig.site("b").logTail, /cannot be trusted/, "QEMU ended in order: its bitmaps are used");
  t.ok(there.diskWireBytes < 3 * MIB, `${there.diskWireBytes} bytes on the WAN`);
  await rig.site("a").ask("stop", { vm: guestName, force: true, timeoutMs: 1000 });
  await rig.site("a").ask("start", { vm: guestName });
  await rig.onConsole("a", (guest) => guest.ready());
  t.strictSame(await disks.differences("a"), [], "so it is at the site that it came back to");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a VM that is taken back from a failed handover writes to fresh images", async (t) => {
  const disks = await DiskRig.boot(t, twoDisks);
  const { rig } = disks;
  await change(disks, "a", 0);
  await leg(t, disks, "a", "b");
  await change(disks, "b", 1);
  await leg(t, disks, "b", "a");
  await change(disks, "a", 2);
  // A new log, in which the next PREPARED is found.
  await rig.site("b").stop();
  await rig.testbed.restartSite("b");
  const { end } = await handoverToReleased(t, undefined, async () => rig);
  await rig.site("b").kill();
  await rig.testbed.link("a", "b").cut();
  t.equal((await end).error?.reason, "inDoubt");
  await rig.idle("a");
  const hashes = await imageHashes(disks, "a", 3);
  const twins = await disks.keepTwins();
  await rig.testbed.restartSite("b");
  await rig.testbed.link("a", "b").restore();
  await rig.untilAlive("a");
  t.strictSame(await disks.differences("a"), [], "the disks are as they were in the handover");
  await change(disks, "a", 3);
  t.strictSame(await disks.differences("a"), [], "the VM writes to them");
  t.strictSame(
    await imageHashes(disks, "a", 3),
    hashes,
    "but not to the images of the generation that was made",
  );
  t.strictSame(await disks.generationDifferences("a", 3, twins), []);
  await waitFor("b has nothing left", async () => (await rig.qemuPid("b")) === null || null);
  const next = await leg(t, disks, "a", "b");
  t.equal(next.leg, "return");
  t.ok(next.diskWireBytes < 4 * MIB, `${next.diskWireBytes} bytes on the WAN`);
  t.notMatch(rig.site("a").logTail, /cannot be trusted/);
  await change(disks, "b", 4);
  await leg(t, disks, "b", "a");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

/** Changes of all kinds; `n` makes them differ. */
async function change(disks: DiskRig, site: string, n: number): Promise<void> {
  await disks.fill(site, "disk0", (2 + n) * MIB + 4096, 300 * 1024);
  await disks.io(site, "disk0", `write -P ${n} ${96 * MIB} 512`);
  await disks.io(site, "disk0", `write -z ${3 + n}M 256k`);
  await disks.io(site, "disk0", `discard ${10 + (n % 8)}M 512k`);
  await disks.io(site, "disk1", `write -P ${50 + n} ${(n % 60) * MIB + 512} 100k`);
  await disks.io(site, "disk1", `discard ${(n % 60) + 2}M 64k`);
}

async function leg(t: Test, disks: DiskRig, from: string, to: string) {
  const { done, source, destination, different } = await disks.comparedLeg(from, to);
  t.strictSame(different, [], `${from} to ${to}: both sites' disks are what the guest has made of them`);
  t.ok(source.equals(destination), "and so is memory");
  await disks.rig.untilAlive(to);
  return done;
}

/** What the files of a generation's newest images hold, byte for byte. */
async function imageHashes(disks: DiskRig, site: string, generation: number): Promise<string[]> {
  return await Promise.all(
    disks.disks.map(async ({ id }) => {
      const path = await disks.generationImage(site, generation, id);
      return `${path} ${createHash("sha256")
        .update(await readFile(path))
        .digest("hex")}`;
    }),
  );
}
