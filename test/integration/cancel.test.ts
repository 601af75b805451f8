import t from "tap";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { Rig } from "./rig.ts";

t.test("interrupting a leg leaves the VM at the source and the destination clean", async (t) => {
  for (const legsBefore of [0, 1]) {
    await t.test(legsBefore === 0 ? "in a first leg" : "in a return leg", async (t) => {
      const rig = await Rig.boot(t);
      let [from, to] = ["a", "b"];
      for (let leg = 0; leg < legsBefore; leg++) {
        await rig.migrate(from, to);
        await rig.untilAlive(to);
        [from, to] = [to, from];
        await rig.change(from, "rewrite", 1024, 7168);
      }
      const folders = await rig.generationFolders(to);
      const counter = await rig.counter(from);
      const interrupt = new AbortController();
      const { error } = await rig.begin(from, to, {
        bitsPerSecond: slowBitsPerSecond,
        signal: interrupt.signal,
        onLine: (line) => isUnderWay(line) && interrupt.abort(),
      });
      t.equal(error?.reason, "aborted");
      await rig.idle(from);
      t.ok(await rig.runsAt(from), "the VM runs at the source");
      await rig.idle(to);
      t.strictSame(await rig.generationFolders(to), folders, "the destination's store is as before");
      await checkAftermath(t, rig, from, counter);
    });
  }
});

t.test("a leg that has no switchover in time is given up", async (t) => {
  const rig = await Rig.boot(t);
  const counter = await rig.counter("a");
  const { error } = await rig.begin("a", "b", { bitsPerSecond: slowBitsPerSecond, timeoutMs: 700 });
  t.equal(error?.reason, "aborted");
  t.match(error?.message, /no switchover within 700 ms/);
  await checkAftermath(t, rig, "a", counter);
});

t.test("a leg keeps to the bandwidth that it is given", async (t) => {
  const rig = await Rig.boot(t);
  const { wireBytes, totalMs } = await rig.migrate("a", "b", { bitsPerSecond: 200e6 });
  const bitsPerSecond = (wireBytes * 8) / (totalMs / 1000);
  t.ok(bitsPerSecond < 1.1 * 200e6, `${Math.round(bitsPerSecond / 1e6)} Mbit/s`);
  await rig.untilAlive("b");
});

for (const state of ["stopped", "finishing", "completing", "released"]) {
  t.test(`interrupting a leg in its state '${state}' leaves exactly one copy`, async (t) => {
    const rig = await Rig.boot(t);
    const counter = await rig.counter("a");
    const interrupt = new AbortController();
    await rig.begin("a", "b", {
      signal: interrupt.signal,
      onLine: (line) => line["state"] === state && interrupt.abort(),
    });
    await rig.idle("a");
    await rig.idle("b");
    const site = (await rig.runsAt("a")) ? "a" : "b";
    if (state === "released") t.equal(site, "b", "after RELEASED an interrupt comes too late");
    await checkAftermath(t, rig, site, counter);
  });
}
