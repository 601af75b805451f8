/** First legs that encode in threads: on a link so fast that one thread would be the limit. */

import { readdirSync, readlinkSync } from "node:fs";
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";

const mebibyte = 1 << 20;
/** Much to encode, and much that is written again meanwhile. */
const guest = {
  memoryBytes: 131064 * 1024,
  fillBytes: 96 * mebibyte,
  workingSetBytes: 24 * mebibyte,
  dirtyPagesPerSecond: 6000,
  rateBitsPerSecond: 20e9,
  rttMs: 1,
};
const options = { skip: availableParallelism() < 2 ? "one core: no threads" : false };

/** Descriptors of the site's agent for the image that it writes: one is the thread's that began it, others are encoders'. */
function openImages(rig: Rig, site: string): number {
  const folder = `/proc/${rig.site(site).pid}/fd`;
  let open = 0;
  for (const name of readdirSync(folder)) {
    try {
      if (readlinkSync(`${folder}/${name}`).endsWith("/ram.img")) open++;
    } catch {
      // It was closed meanwhile.
    }
  }
  return open;
}

/** Resolves with true as soon as threads encode; with false if the leg has ended before. */
async function untilThreads(rig: Rig, ended: () => boolean): Promise<boolean> {
  while (!ended()) {
    if (openImages(rig, "a") > 1) return true;
    await sleep(5);
  }
  return false;
}

t.test("what threads have encoded arrives, and is kept, byte for byte", options, async (t) => {
  const rig = await Rig.boot(t, guest);
  await rig.ticks("a", 20);
  let hasEnded = false;
  const threads = untilThreads(rig, () => hasEnded);
  const { done, source, destination } = await rig.comparedLeg("a", "b");
  hasEnded = true;
  // On a busy machine the destination may be what limits the leg. With threads for sure: test/leg/encode-route.test.ts.
  if (!(await threads)) t.comment("one thread was enough");
  t.equal(differences(source, destination), "", "no page differs between the sites");
  t.strictSame(rig.model.check(source), [], "the guest's memory is what it should have made");
  t.equal(done.leg, "first");
  await rig.idle("a");
  t.equal(openImages(rig, "a"), 0, "the threads are gone");
  await rig.untilAlive("b");
  const { done: back } = await rig.comparedLeg("b", "a");
  t.equal(back.leg, "return", "the own copy is what the return leg is based on");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, []);
});

t.test("a link that is lost while threads encode, and a cancel, do no harm", options, async (t) => {
  const rig = await Rig.boot(t, guest);
  const link = rig.testbed.link("a", "b");
  let hasEnded = false;
  const threads = untilThreads(rig, () => hasEnded);
  const leg = rig.begin("a", "b");
  leg.finally(() => {
    hasEnded = true;
  });
  if (!(await threads)) t.comment("none were needed");
  await link.cut();
  await sleep(200);
  await link.restore();
  const cancelled = await rig
    .site("a")
    .ask("cancel", { vm: guestName })
    .then(
      () => true,
      () => false,
    );
  const { error } = await leg;
  // On a machine in no hurry it may be over by then.
  const left = error === null ? "b" : "a";
  if (cancelled && error !== null) t.equal(error.reason, "aborted");
  await rig.idle("a");
  await rig.idle("b");
  t.ok(await rig.runsAt(left), "the VM runs");
  t.equal(openImages(rig, "a"), 0, "nothing writes any more");
  if (left === "a") {
    t.strictSame(await rig.generationFolders("a"), [], "nothing is left of the copy");
    const { source, destination } = await rig.comparedLeg("a", "b");
    t.equal(differences(source, destination), "", "the next leg arrives");
  }
});
