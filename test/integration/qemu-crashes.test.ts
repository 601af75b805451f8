import t, { type Test } from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { handover } from "./handover.ts";
import { counterIn } from "./memory.ts";
import { type LegEnd, Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

t.test("the destination's QEMU dies in the middle of a leg", async (t) => {
  const { rig, counter, end } = await legWithDeath(t, "b");
  t.equal(end.error?.reason, "aborted");
  t.ok(await rig.runsAt("a"), "the VM runs at the source");
  await checkAftermath(t, rig, "a", counter);
});

t.test("the destination's QEMU dies when it has loaded everything", async (t) => {
  const { rig, counter, end } = await handover(t);
  await rig.killQemu("b");
  rig.resume("a");
  t.equal((await end).error?.reason, "aborted");
  await checkAftermath(t, rig, "a", counter);
});

t.test("the source's QEMU dies in the middle of a first leg", async (t) => {
  const { rig, end } = await legWithDeath(t, "a");
  t.equal(end.error?.reason, "failed", `the VM does not run any more: ${end.error?.message}`);
  await isClean(t, rig, "b");
  await t.rejects(
    rig.site("a").ask("recover", { vm: guestName, generation: null, force: false }),
    /no generation/,
  );
  await rig.site("a").ask("start", { vm: guestName });
  await rig.onConsole("a", (guest) => guest.ready());
  await checkAftermath(t, rig, "a", 0);
});

t.test("the source's QEMU dies in the middle of a return leg, and a generation is recovered", async (t) => {
  const rig = await Rig.boot(t);
  const { source } = await rig.comparedLeg("a", "b");
  await rig.untilAlive("b");
  const retained = rig.model.copy();
  await rig.change("b", "rewrite", 1024, 7168);
  let killing: Promise<void> | null = null;
  const { error } = await rig.begin("b", "a", {
    bitsPerSecond: slowBitsPerSecond,
    onLine: (line) => {
      if (isUnderWay(line)) killing ??= rig.killQemu("b");
    },
  });
  await killing;
  t.equal(error?.reason, "failed", `the VM does not run any more: ${error?.message}`);
  await isClean(t, rig, "a");
  await waitFor("the agent has noticed", async () => {
    const { running } = await rig.site("b").ask("show", { vm: guestName });
    return running === false || null;
  });
  const recovered = await rig.site("b").ask("recover", { vm: guestName, generation: null, force: false });
  t.equal(recovered["generation"], 1);
  await rig.untilAlive("b");
  const memory = await rig.stoppedDump("b");
  t.strictSame(retained.check(memory), [], "memory is that of generation 1, and went on from there");
  t.ok(counterIn(memory) >= counterIn(source), "the counter goes on from the generation's");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

t.test("the source's QEMU dies when the destination has loaded everything", async (t) => {
  const { rig, end } = await handover(t);
  await rig.killQemu("a");
  rig.resume("a");
  const { error } = await end;
  // The destination has the whole state, but only the source may give it away.
  t.equal(error?.reason, "failed", `the VM does not run any more: ${error?.message}`);
  await isClean(t, rig, "b");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

async function legWithDeath(
  t: Test,
  dying: string,
): Promise<{ readonly rig: Rig; readonly counter: number; readonly end: LegEnd }> {
  const rig = await Rig.boot(t);
  const counter = await rig.counter("a");
  let killing: Promise<void> | null = null;
  const end = await rig.begin("a", "b", {
    bitsPerSecond: slowBitsPerSecond,
    onLine: (line) => {
      if (isUnderWay(line)) killing ??= rig.killQemu(dying);
    },
  });
  await killing;
  return { rig, counter, end };
}

async function isClean(t: Test, rig: Rig, site: string): Promise<void> {
  await rig.idle(site);
  await waitFor(`no QEMU is left at ${site}`, async () => (await rig.qemuPid(site)) === null || null);
  const left = (await rig.generationFolders(site)).filter((name) => !/^\d+$/.test(name));
  t.strictSame(left, [], `nothing unfinished is left in the store of ${site}`);
}
