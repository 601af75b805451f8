import t from "tap";
import { isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { recover, setLinks, untilFenced } from "./fencing-rig.ts";
import { type LegEnd, Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

const siteNames = ["a", "b", "c"];

t.test("a site that is cut off from the new owner hears of it from a third one", async (t) => {
  const rig = await Rig.boot(t, { siteNames });
  for (const [from, to] of [
    ["a", "b"],
    ["b", "a"],
    ["a", "c"],
    ["c", "a"],
  ] as const) {
    await rig.migrate(from, to);
    await rig.untilAlive(to);
    await Promise.all([rig.idle(from), rig.idle(to)]);
  }
  await setLinks(rig, true, "a", "c");
  await recover(rig, "c", { force: true });
  t.match(await untilFenced(rig, "a"), { memory: true }, "b has told it");
  await rig.untilAlive("c");
  const { findings } = await rig.verifyStores(siteNames);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a leg that is under way is given up when its source is fenced", async (t) => {
  const rig = await Rig.boot(t, { siteNames });
  await rig.migrate("a", "c");
  await rig.untilAlive("c");
  await rig.migrate("c", "a");
  await rig.untilAlive("a");
  await Promise.all(siteNames.map((site) => rig.idle(site)));
  await setLinks(rig, true, "a", "c");
  await setLinks(rig, true, "b", "c");
  await recover(rig, "c", { force: true });
  await rig.untilAlive("c");
  let begun: () => void = () => {};
  const isBegun = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const leg: Promise<LegEnd> = rig.begin("a", "b", {
    bitsPerSecond: slowBitsPerSecond,
    onLine: (line) => {
      if (isUnderWay(line)) begun();
    },
  });
  await Promise.race([isBegun, leg]);
  const counter = await rig.counter("a");
  await setLinks(rig, false, "a", "c");
  t.match((await leg).error, { reason: "aborted" });
  const branch = await untilFenced(rig, "a");
  t.match(branch, { memory: true, problem: null });
  await waitFor("its QEMU is gone", async () => (await rig.qemuPid("a")) === null || null);
  t.equal(rig.runs.overlaps().length, 1, "the copy at a has not run again");
  await setLinks(rig, false, "b", "c");
  await rig.idle("b");
  t.equal(await rig.qemuPid("b"), null, "nothing is left at the destination");
  await recover(rig, "a", { branch: branch?.name ?? "", force: true });
  await rig.untilAlive("a");
  const memory = await rig.stoppedDump("a");
  t.strictSame(rig.model.check(memory), [], "the branch is what the VM was when it was stopped");
  t.ok((await rig.counter("a")) >= counter);
  await untilFenced(rig, "c");
  const { findings } = await rig.verifyStores(["a", "c"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});
