import t from "tap";
import { counterIn, differences } from "./memory.ts";
import { plainVerdict } from "./plain-control.ts";
import { Rig } from "./rig.ts";

const route = ["a", "b", "a", "b", "a"];

t.test("memory is equal byte for byte after each leg of a journey there and back", async (t) => {
  const rig = await Rig.boot(t);
  let counter = 0;
  let firstLegBytes = 0;
  for (const [leg, from] of route.slice(0, -1).entries()) {
    const to = route[leg + 1] as string;
    await t.test(`leg ${leg + 1}, ${from} to ${to}`, async (t) => {
      await rig.ticks(from, 60);
      const { done, source, destination } = await rig.comparedLeg(from, to);
      const different = differences(source, destination);
      const wrong = rig.model.check(source);
      t.equal(different, "", "no page differs between the sites");
      t.strictSame(wrong, [], "the source's guest memory is what the guest should have made");
      if (different !== "" || wrong.length > 0) t.comment(await plainVerdict(rig));
      t.ok(counterIn(source) > counter, "the guest went on counting before the leg");
      counter = counterIn(destination);
      await rig.untilAlive(to);
      const now = await rig.counter(to);
      t.ok(now > counter, "the counter goes on from where it was");
      counter = now;
      t.equal(await rig.runsAt(from), false, "the source's copy does not run");
      t.equal(done.leg, leg === 0 ? "first" : "return");
      t.equal(done.generation, leg + 1);
      if (leg === 0) {
        firstLegBytes = done.wireBytes;
        t.equal(done.unwrittenPages, 0);
      } else {
        t.ok(done.wireBytes < firstLegBytes / 10, `${done.wireBytes} bytes after ${firstLegBytes}`);
        t.ok(done.unwrittenPages > 4096, `${done.unwrittenPages} pages were not compared`);
      }
    });
  }
  t.strictSame(rig.model.check(await rig.stoppedDump("a")), [], "the guest's memory is right in the end");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings, generations } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
  t.ok(generations >= 4, `${generations} generations are kept`);
});

t.test("a guest that dirties its memory faster than a slow link carries it arrives unharmed", async (t) => {
  const rig = await Rig.boot(t, {
    workingSetBytes: 16 << 20,
    dirtyPagesPerSecond: 8000,
    rateBitsPerSecond: 200e6,
    rttMs: 20,
  });
  await rig.ticks("a", 20);
  for (const [from, to] of [
    ["a", "b"],
    ["b", "a"],
    ["a", "b"],
  ] as const) {
    const { source, destination } = await rig.comparedLeg(from, to);
    t.equal(differences(source, destination), "", `${from} to ${to}: no page differs`);
    t.strictSame(rig.model.check(destination), [], "every page is as of its last tick");
    await rig.untilAlive(to);
  }
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});
