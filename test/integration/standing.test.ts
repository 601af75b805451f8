/** Return legs that go on from a standing migration. */

import t from "tap";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { DiskRig } from "./disk-rig.ts";
import { counterIn, differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { standAtB, trackingAt, untilStanding } from "./standing-rig.ts";

const standing = { tracking: "standing" } as const;
const filledPages = 8192;
const MIB = 1 << 20;

t.test("return legs send what changed, and memory is equal byte for byte", async (t) => {
  const rig = await Rig.boot(t, standing);
  t.match(await trackingAt(rig, "a"), { wanted: "standing", mode: "scan", why: /has not moved/ });
  const first = await rig.migrate("a", "b");
  t.equal(first.tracking, "scan");
  for (const [from, to] of [
    ["b", "a"],
    ["a", "b"],
    ["b", "a"],
  ] as const) {
    await rig.untilAlive(from);
    const report = await untilStanding(rig, from);
    t.match(report, { wanted: "standing", why: null, estimate: { dirtiedBytes: null } });
    t.ok((report.estimate?.unreadBytes ?? 0) > MIB, "the first pass is not at its end");
    const counter = await rig.counter(from);
    await rig.change(from, "rewrite", 2048, 256);
    await rig.ticks(from, 60);
    const { done, source, destination } = await rig.comparedLeg(from, to);
    t.equal(done.tracking, "standing");
    t.equal(done.leg, "return");
    t.equal(differences(source, destination), "", "no page differs between the sites");
    t.strictSame(rig.model.check(source), [], "the source's memory is what the guest should have made");
    t.ok(counterIn(source) > counter, "the guest ran while it was held");
    t.ok(done.wireBytes < first.wireBytes / 5, `${done.wireBytes} bytes after ${first.wireBytes}`);
    t.ok(done.unwrittenPages > 4096, `${done.unwrittenPages} pages were not compared`);
  }
  await rig.untilAlive("a");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a leg that is asked for at once takes over what was read so far, or scans", async (t) => {
  const rig = await Rig.boot(t, standing);
  await rig.migrate("a", "b");
  const { source, destination } = await rig.comparedLeg("b", "a");
  t.equal(differences(source, destination), "");
  await rig.untilAlive("a");
  t.strictSame(rig.runs.overlaps(), []);
});

t.test("a guest that has changed most of its memory while it was held arrives unharmed", async (t) => {
  const rig = await Rig.boot(t, {
    ...standing,
    memoryBytes: 131_064 * 1024,
    workingSetBytes: 16 * MIB,
    dirtyPagesPerSecond: 4000,
  });
  await standAtB(rig);
  await rig.change("b", "rewrite", 0, filledPages);
  await rig.ticks("b", 100);
  const { done, source, destination } = await rig.comparedLeg("b", "a", { bitsPerSecond: 400e6 });
  t.equal(done.tracking, "standing");
  t.equal(differences(source, destination), "", "no page differs");
  t.strictSame(rig.model.check(destination), [], "every page is as of its last tick");
  t.ok(done.ramBytes > 30 * MIB, `${done.ramBytes} bytes had changed`);
  await rig.untilAlive("a");
});

t.test(
  "a leg from a standing migration that is cancelled leaves the VM, which stands again later",
  async (t) => {
    const rig = await Rig.boot(t, standing);
    await standAtB(rig);
    await rig.change("b", "rewrite", 0, filledPages);
    const counter = await rig.counter("b");
    const hangUp = new AbortController();
    const { error } = await rig.begin("b", "a", {
      bitsPerSecond: slowBitsPerSecond,
      signal: hangUp.signal,
      onLine: (line) => isUnderWay(line) && hangUp.abort(),
    });
    t.equal(error?.reason, "aborted");
    await rig.untilAlive("b");
    t.ok((await rig.counter("b")) > counter, "the VM runs at the source");
    t.match(await trackingAt(rig, "b"), { mode: "scan" });
    // All of its filled memory differs by now: more than is worth keeping.
    await checkAftermath(t, rig, "b", counter);
  },
);

t.test("after a cancelled leg there is a standing migration again", async (t) => {
  const rig = await Rig.boot(t, standing);
  await standAtB(rig);
  await rig.change("b", "rewrite", 0, 2048);
  const hangUp = new AbortController();
  const { error } = await rig.begin("b", "a", {
    bitsPerSecond: slowBitsPerSecond,
    signal: hangUp.signal,
    onLine: (line) => isUnderWay(line) && hangUp.abort(),
  });
  t.equal(error?.reason, "aborted");
  const report = await untilStanding(rig, "b");
  t.ok((report.estimate?.keptBytes ?? 0) >= 2048 * 4096, "what differs already is kept for the next leg");
  const { done, source, destination } = await rig.comparedLeg("b", "a", { bitsPerSecond: 400e6 });
  t.equal(done.tracking, "standing");
  t.ok(done.wireBytes >= (report.estimate?.keptWireBytes ?? 0), "it is sent with the leg");
  t.equal(differences(source, destination), "", "what was kept is there, too");
  t.strictSame(rig.model.check(destination), []);
  await rig.untilAlive("a");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

t.test("a peer that does not hold the base gets everything, by a scan", async (t) => {
  const rig = await Rig.boot(t, { ...standing, siteNames: ["a", "b", "c"] });
  await standAtB(rig);
  const { done, source, destination } = await rig.comparedLeg("b", "c");
  t.match(done, { tracking: "scan", leg: "first" });
  t.equal(differences(source, destination), "");
  await rig.untilAlive("c");
  await untilStanding(rig, "c");
  // That one stands on generation 2; a has generation 1 only, whose digests are known at c.
  const back = await rig.comparedLeg("c", "a");
  t.match(back.done, { tracking: "scan", leg: "return" });
  t.equal(differences(back.source, back.destination), "");
  await rig.untilAlive("a");
  t.strictSame(rig.runs.overlaps(), [], "never did two copies run");
});

t.test("disks come along", async (t) => {
  const disks = await DiskRig.boot(
    t,
    [{ id: "disk0", lengthBytes: 64 * MIB, initial: ["write -P 17 0 8M"] }],
    { ...standing, fillBytes: 32 * MIB },
  );
  const { rig } = disks;
  await disks.comparedLeg("a", "b");
  for (const [from, to] of [
    ["b", "a"],
    ["a", "b"],
  ] as const) {
    await rig.untilAlive(from);
    await untilStanding(rig, from);
    await disks.fill(from, "disk0", 2 * MIB, 256 * 1024);
    await disks.io(from, "disk0", "write -P 3 20M 300k");
    const { done, source, destination, different } = await disks.comparedLeg(from, to);
    t.match(done, { tracking: "standing", leg: "return" });
    t.strictSame(different, [], "both sites' disks are what the guest has made of them");
    t.ok(source.equals(destination), "and so is memory");
    t.ok(done.diskBytes <= 2 * MIB, `${done.diskBytes} bytes of blocks`);
  }
  await rig.untilAlive("b");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});
