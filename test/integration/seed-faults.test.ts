/** Seeds that fail, at each step: the VM runs on with all its data and never stands still, and nothing is left over. */

import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import type { HaltFile } from "../faults/halt-file.ts";
import { beginCheckpoint, checkpoint, haltingRig, untilHalted } from "./checkpoint-rig.ts";
import type { TestDisk } from "./disk-files.ts";
import type { DiskRig } from "./disk-rig.ts";
import { differences } from "./memory.ts";
import type { Rig } from "./rig.ts";

const MIB = 1 << 20;
const oneDisk: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 48 * MIB, kind: "raw", initial: ["write -P 4 8M 4M"] },
];

interface Bed {
  readonly disks: DiskRig;
  readonly halts: HaltFile;
}

let writes = 0;

async function change({ disks }: Bed): Promise<void> {
  const n = ++writes;
  await disks.io("a", "disk0", `write -P ${n} ${(n % 40) * MIB} 100k`);
  await disks.rig.change("a", "rewrite", 50 * (n % 40), 60);
}

function beginSeed(rig: Rig, options: { linkTimeoutMs?: number; timeoutMs?: number } = {}) {
  return beginCheckpoint(rig, "a", "b", { ...options, checkpoint: false });
}

/** The VM runs at a with all its data, which it can change, and both stores have nothing that is not complete. */
async function checkBed(t: Test, bed: Bed): Promise<void> {
  const { disks } = bed;
  const { rig } = disks;
  await rig.untilAlive("a");
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  t.equal(await rig.qemuPid("b"), null, "no QEMU is at b");
  t.strictSame(await disks.differences("a"), [], "its disk is what it must be");
  for (const site of ["a", "b"]) {
    const left = (await rig.generationFolders(site)).filter((name) => !/^\d+$/.test(name));
    t.strictSame(left, [], `nothing unfinished is at ${site}`);
  }
}

/** A leg is a small return leg after all of it, and right. */
async function checkEnd(t: Test, { disks }: Bed): Promise<void> {
  const { rig } = disks;
  const { done, source, destination, different } = await disks.comparedLeg("a", "b");
  t.equal(done.leg, "return");
  t.equal(differences(source, destination), "");
  t.strictSame(different, []);
  t.strictSame(rig.model.check(destination), []);
  await rig.untilAlive("b");
  t.strictSame(rig.runs.overlaps(), []);
  await Promise.all([rig.idle("a"), rig.idle("b")]);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
}

t.test("an agent dies", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { rig } = bed.disks;
  await checkpoint(rig, "a", "b", { checkpoint: false });
  const steps = [
    ["a", "source:disk-round"],
    ["a", "source:keeping"],
    ["b", "destination:prepared"],
    ["b", "destination:in-force"],
  ] as const;
  for (const [site, step] of steps) {
    await t.test(`at ${step}`, async (t) => {
      await change(bed);
      await bed.halts.set(step);
      const end = beginSeed(rig, { linkTimeoutMs: 20_000 });
      await untilHalted(rig, site, end);
      await rig.site(site).kill();
      if (site === "b") await rig.testbed.restartSite("b");
      const { error } = await end;
      if (site === "a") {
        t.ok(error);
        await rig.testbed.restartSite("a");
      } else t.equal(error?.reason ?? "aborted", "aborted");
      await checkBed(t, bed);
    });
  }
  await checkEnd(t, bed);
});

t.test("the link is lost, time runs out, or it is cancelled", async (t) => {
  const bed = await haltingRig(t, oneDisk);
  const { disks, halts } = bed;
  const { rig } = disks;
  await checkpoint(rig, "a", "b", { checkpoint: false });
  const stops: string[] = [];
  (await rig.monitor("a")).onEvent(({ name }) => {
    if (name === "STOP") stops.push(name);
  });
  const link = rig.testbed.link("a", "b");
  const resume = () => process.kill(rig.site("a").pid, "SIGCONT");
  await t.test("for a while, in the pass", async (t) => {
    await change(bed);
    await halts.set("source:disk-round");
    const end = beginSeed(rig);
    await untilHalted(rig, "a", end);
    await link.cut();
    resume();
    await rig.ticks("a", 20);
    await link.restore();
    const { done } = await end;
    t.equal(done?.reconnects, 1);
    await checkBed(t, bed);
  });
  for (const step of ["rounds", "finishing"]) {
    await t.test(`for good, at ${step}`, async (t) => {
      await change(bed);
      await halts.set(`source:${step}`);
      const end = beginSeed(rig, { linkTimeoutMs: 500 });
      await untilHalted(rig, "a", end);
      await link.cut();
      resume();
      const { error } = await end;
      t.match(error, { reason: "aborted", message: /^No seed was made, the VM stays here: / });
      await link.restore();
      await checkBed(t, bed);
    });
  }
  await t.test("it takes too long", async (t) => {
    await change(bed);
    await halts.set("source:ram-round");
    const end = beginSeed(rig, { timeoutMs: 1 });
    const { error } = await end;
    await halts.clear();
    t.match(error, {
      reason: "aborted",
      message: /^No seed of .* was made: it was not complete within 1 ms/,
    });
    await checkBed(t, bed);
  });
  await t.test("an operator cancels it", async (t) => {
    await change(bed);
    await halts.set("source:disk-round");
    const end = beginSeed(rig);
    await untilHalted(rig, "a", end);
    const cancelled = rig.site("a").ask("cancel", { vm: guestName });
    resume();
    await cancelled;
    t.match((await end).error, { reason: "aborted", message: /^No seed was made, the VM stays here: / });
    await checkBed(t, bed);
  });
  t.strictSame(stops, [], "it never stood still");
  await checkEnd(t, bed);
});
