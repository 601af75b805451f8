/** The link is lost and comes back, in the phases of a leg. */

import t from "tap";
import type { ControlLine } from "../../cli/control-client.ts";
import { checkAftermath, isUnderWay, slowBitsPerSecond } from "./aftermath.ts";
import { handoverToReleased } from "./handover.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/** Calls `action` once, at the first line for which `isIt` is true. */
function once(isIt: (line: ControlLine) => boolean, action: () => void): (line: ControlLine) => void {
  let isDone = false;
  return (line) => {
    if (isDone || !isIt(line)) return;
    isDone = true;
    action();
  };
}

t.test(
  "a leg goes on after its link was lost again and again, and the guest lives on meanwhile",
  async (t) => {
    const rig = await Rig.boot(t, { rateBitsPerSecond: slowBitsPerSecond });
    const link = rig.testbed.link("a", "b");
    let cuts = 0;
    let nextCut = 2e6;
    const cutNow = async () => {
      cuts++;
      await link.cut();
      await waitFor(
        "the agent knows",
        async () => rig.site("a").logTail.includes("waits for the link") || null,
      );
      const before = await rig.counter("a");
      await rig.ticks("a", 20);
      t.ok((await rig.counter("a")) > before, "the guest lives while the link is lost");
      await link.restore();
    };
    let cutting: Promise<void> = Promise.resolve();
    const { done, source, destination } = await rig.comparedLeg("a", "b", {
      onLine: (line) => {
        if (line.event !== "progress" || cuts === 4 || (line["wireBytes"] as number) < nextCut) return;
        nextCut += 5e6;
        cutting = cutting.then(cutNow);
      },
    });
    await cutting;
    t.equal(done.reconnects, cuts);
    t.ok(cuts >= 3, `${cuts} cuts`);
    t.ok(done.resentBytes > 0, "what was under way was sent again");
    t.equal(differences(source, destination), "", "no page differs between the sites");
    t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
    await checkAftermath(t, rig, "b", 0);
  },
);

t.test("a link that stays away ends the leg after its timeout, and nothing is left of it", async (t) => {
  const rig = await Rig.boot(t, { rateBitsPerSecond: slowBitsPerSecond });
  const counter = await rig.counter("a");
  const link = rig.testbed.link("a", "b");
  const { error } = await rig.begin("a", "b", {
    linkTimeoutMs: 1500,
    onLine: once(isUnderWay, () => void link.cut()),
  });
  t.equal(error?.reason, "aborted");
  t.match(error?.message, /link to b was lost/);
  t.ok(await rig.runsAt("a"), "the VM runs at the source");
  await link.restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("a link that is lost while the VM stands still lets the VM run on at the source", async (t) => {
  const rig = await Rig.boot(t);
  const counter = await rig.counter("a");
  const link = rig.testbed.link("a", "b");
  const { error } = await rig.begin("a", "b", {
    onLine: once(
      (line) => line["state"] === "finishing",
      () => void link.cut(),
    ),
  });
  t.equal(error?.reason, "aborted");
  t.ok(await rig.runsAt("a"), "the VM runs at the source");
  await link.restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("a link that is lost after RELEASED and soon comes back carries COMMIT after all", async (t) => {
  const { rig, counter, end } = await handoverToReleased(t);
  const link = rig.testbed.link("a", "b");
  await link.cut();
  await waitFor("the source has noticed", () => rig.site("a").logTail.includes("waits for the link") || null);
  t.equal(await rig.runsAt("b"), false, "COMMIT was lost");
  await link.restore();
  const { done, error } = await end;
  t.equal(error, null);
  t.equal(done?.reconnects, 1);
  await checkAftermath(t, rig, "b", counter);
});

t.test("an agent of the source that was killed while its link was lost leaves nothing behind", async (t) => {
  const rig = await Rig.boot(t, { rateBitsPerSecond: slowBitsPerSecond });
  const counter = await rig.counter("a");
  const link = rig.testbed.link("a", "b");
  let killed: Promise<unknown> = Promise.resolve();
  const { error } = await rig.begin("a", "b", {
    onLine: once(isUnderWay, () => {
      killed = link.cut().then(() => rig.site("a").kill());
    }),
  });
  await killed;
  t.equal(error?.reason, "failed");
  await rig.untilAlive("a");
  await link.restore();
  await rig.testbed.restartSite("a");
  await checkAftermath(t, rig, "a", counter);
});
