/** Checkpoints that fail, at each step: the VM runs on with all its data, and nothing is left over at either site. */

import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import type { HaltFile } from "../faults/halt-file.ts";
import {
  beginCheckpoint,
  checkpoint,
  comparedCheckpoint,
  haltingRig,
  untilHalted,
} from "./checkpoint-rig.ts";
import type { TestDisk } from "./disk-files.ts";
import type { DiskRig } from "./disk-rig.ts";

const MIB = 1 << 20;
const oneDisk: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 48 * MIB, kind: "raw", initial: ["write -P 4 8M 4M"] },
];

interface Bed {
  readonly disks: DiskRig;
  readonly halts: HaltFile;
}

let writes = 0;

async function change({ disks }: Bed, site: string): Promise<void> {
  const n = ++writes;
  await disks.io(site, "disk0", `write -P ${n} ${(n % 40) * MIB} 100k`);
  await disks.rig.change(site, "rewrite", 50 * (n % 40), 60);
}

/** The VM runs at a alone with all its data, which it can change, and both stores have nothing that is not complete. */
async function checkBed(t: Test, bed: Bed): Promise<void> {
  const { disks } = bed;
  const { rig } = disks;
  await rig.untilAlive("a");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  t.equal(await rig.qemuPid("b"), null, "no QEMU is at b");
  t.strictSame(await disks.differences("a"), [], "its disk is what it must be");
  t.strictSame(rig.model.check(await rig.stoppedDump("a")), [], "and so is its memory");
  for (const site of ["a", "b"]) {
    const left = (await rig.generationFolders(site)).filter((name) => !/^\d+$/.test(name));
    t.strictSame(left, [], `nothing unfinished is at ${site}`);
  }
  await change(bed, "a");
  t.strictSame(await disks.differences("a"), []);
}

/** A checkpoint works, both sites have what the VM had in its pause, and the verifier finds nothing wrong. */
async function checkEnd(t: Test, bed: Bed): Promise<void> {
  const { disks } = bed;
  const { done, twins } = await comparedCheckpoint(bed, "a", "b");
  t.equal(done.leg, "return", "it builds on one before");
  for (const site of ["a", "b"]) {
    t.strictSame(await disks.generationDifferences(site, done.generation, twins), [], `disk at ${site}`);
  }
  t.strictSame(disks.rig.runs.overlaps(), []);
  await Promise.all([disks.rig.idle("a"), disks.rig.idle("b")]);
  const { findings } = await disks.rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
}

t.test("the source's agent dies", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { rig } = bed.disks;
  await checkpoint(rig, "a", "b");
  for (const step of ["rounds", "stopped", "stream-ended", "runs-on", "finishing", "keeping", "sealed"]) {
    await t.test(`at ${step}`, async (t) => {
      await change(bed, "a");
      await bed.halts.set(`source:${step}`);
      const end = beginCheckpoint(rig, "a", "b");
      await untilHalted(rig, "a", end);
      await rig.site("a").kill();
      t.ok((await end).error);
      await rig.testbed.restartSite("a");
      await checkBed(t, bed);
    });
  }
  await checkEnd(t, bed);
});

t.test("the peer's agent dies", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { rig } = bed.disks;
  await checkpoint(rig, "a", "b");
  for (const step of ["offered", "first-frame", "written", "prepared", "in-force", "kept"]) {
    await t.test(`at ${step}`, async (t) => {
      await change(bed, "a");
      await bed.halts.set(`destination:${step}`);
      const end = beginCheckpoint(rig, "a", "b", { linkTimeoutMs: 20_000 });
      await untilHalted(rig, "b", end);
      await rig.site("b").kill();
      await rig.testbed.restartSite("b");
      const { error } = await end;
      t.equal(error?.reason ?? "aborted", "aborted");
      await checkBed(t, bed);
    });
  }
  await checkEnd(t, bed);
});

t.test("the link is lost, and the VM's QEMU dies", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { disks, halts } = bed;
  const { rig } = disks;
  await checkpoint(rig, "a", "b");
  const link = rig.testbed.link("a", "b");
  await t.test("for a while, after the pause", async (t) => {
    await change(bed, "a");
    await halts.set("source:runs-on");
    const end = beginCheckpoint(rig, "a", "b");
    await untilHalted(rig, "a", end);
    await link.cut();
    process.kill(rig.site("a").pid, "SIGCONT");
    await rig.untilAlive("a");
    await link.restore();
    const { done } = await end;
    t.equal(done?.reconnects, 1);
    await checkBed(t, bed);
  });
  for (const step of ["rounds", "stopped", "finishing"]) {
    await t.test(`for good, at ${step}`, async (t) => {
      await change(bed, "a");
      await halts.set(`source:${step}`);
      const end = beginCheckpoint(rig, "a", "b", { linkTimeoutMs: 500 });
      await untilHalted(rig, "a", end);
      await link.cut();
      process.kill(rig.site("a").pid, "SIGCONT");
      const { error } = await end;
      t.match(error, { reason: "aborted", message: /^No checkpoint was made, the VM stays here: / });
      await rig.untilAlive("a");
      await link.restore();
      await checkBed(t, bed);
    });
  }
  await t.test("QEMU dies in the pause; the newest checkpoint is restarted", async (t) => {
    const { twins } = await comparedCheckpoint(bed, "a", "b");
    const memory = rig.model.copy();
    await change(bed, "a");
    await halts.set("source:stream-ended");
    const end = beginCheckpoint(rig, "a", "b");
    await untilHalted(rig, "a", end);
    process.kill((await rig.qemuPid("a")) as number, "SIGKILL");
    process.kill(rig.site("a").pid, "SIGCONT");
    t.match((await end).error, { reason: "failed", message: /does not run any more/ });
    await rig.site("a").ask("recover", { vm: guestName, generation: null, force: false });
    await rig.untilAlive("a");
    await disks.restoreTwins(twins);
    t.strictSame(await disks.differences("a"), [], "its disk is that of the checkpoint");
    t.strictSame(memory.check(await rig.stoppedDump("a")), [], "and so is its memory");
  });
  const { done, twins } = await comparedCheckpoint(bed, "a", "b");
  t.equal(done.leg, "return");
  t.strictSame(await disks.generationDifferences("b", done.generation, twins), []);
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a site that is needed does not wait for a checkpoint whose source is gone", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { disks } = bed;
  const { rig } = disks;
  const { done, twins } = await comparedCheckpoint(bed, "a", "b");
  await change(bed, "a");
  await bed.halts.set("source:finishing");
  const end = beginCheckpoint(rig, "a", "b");
  await untilHalted(rig, "a", end);
  // The whole site is lost: nobody says a word.
  await rig.testbed.link("a", "b").cut();
  await rig.testbed.link("b", "a").cut();
  process.kill((await rig.qemuPid("a")) as number, "SIGKILL");
  const { vms } = (await rig.site("b").ask("list", {})) as unknown as {
    vms: { activity: { what: string } }[];
  };
  t.equal(vms[0]?.activity.what, "receive copy");
  const recovered = await rig.site("b").ask("recover", { vm: guestName, generation: null, force: true });
  t.equal(recovered["generation"], done.generation);
  await rig.untilAlive("b");
  await disks.restoreTwins(twins);
  t.strictSame(await disks.differences("b"), []);
  const left = (await rig.generationFolders("b")).filter((name) => !/^\d+$/.test(name));
  t.strictSame(left, [], "nothing unfinished is left");
  await rig.site("a").kill();
  t.ok((await end).error);
});
