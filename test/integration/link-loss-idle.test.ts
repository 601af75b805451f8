/** QEMU stops the VM by itself while the link is lost: nobody can take it over then. */

import t, { type Test } from "tap";
import { checkAftermath, slowBitsPerSecond } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

/** A guest that gets no processor writes nothing, and is stopped before the link is lost: then another one is tried. */
const mostAttempts = 10;

/**
 * A leg of a new VM, whose link is lost in the second pass. False when the VM was stopped before that: the leg has
 * ended, one way or the other, and a further one of that VM would be a way back without a second pass.
 */
async function loseLinkInSecondPass(t: Test): Promise<boolean> {
  // So little is written that the link's window has room for it while the link is lost.
  const rig = await Rig.boot(t, {
    rateBitsPerSecond: slowBitsPerSecond,
    fillBytes: 8 << 20,
    workingSetBytes: 1 << 20,
    dirtyPagesPerSecond: 200,
  });
  const link = rig.testbed.link("a", "b");
  // With this QEMU stops by itself at the end of its pass, whatever the agent decides.
  const letItStop = async () => {
    const monitor = await rig.monitor("a");
    await monitor.execute("migrate-set-parameters", { "downtime-limit": 60_000 });
  };
  const logged = (text: string) => rig.site("a").log.split(text).length - 1;
  /** Looks for one more line of that kind. */
  const moreOf = (text: string) => {
    const before = logged(text);
    return () => logged(text) > before || null;
  };
  /** True when the link was lost first. */
  const lose = async (hasStopped: () => boolean) => {
    const isKnown = moreOf("waits for the link");
    const stopped = moreOf("nothing more to send");
    await link.cut();
    await waitFor("the agent knows", isKnown);
    await letItStop();
    await waitFor("QEMU has stopped the VM", () => stopped() ?? (hasStopped() || null));
    if (!stopped()) return false;
    await rig.ticks("a", 20);
    await link.restore();
    return true;
  };
  let losing: Promise<boolean> | null = null;
  let isBack = false;
  let hasStopped = false;
  const leg = rig.comparedLeg("a", "b", {
    // The device state alone takes longer: the agent never hands over by itself.
    downtimeLimitMs: 1,
    onLine: (line) => {
      hasStopped ||= line["state"] === "stopped";
      if (line.event !== "progress" || (line["round"] as number) < 2) return;
      if (isBack) letItStop().catch(() => {});
      losing ??= lose(() => hasStopped && !isBack).finally(() => {
        isBack = true;
      });
    },
  });
  const ended = await leg.catch((error) => ({ error }));
  const isLostFirst = losing !== null && (await losing);
  if (!isLostFirst) {
    await link.restore();
    if ("error" in ended) {
      const { reason } = ended.error;
      t.equal(reason, "aborted", "a leg whose VM stands still does not wait for the link for long");
    }
    await rig.untilAlive("error" in ended ? "a" : "b");
    return false;
  }
  if ("error" in ended) throw ended.error;
  const { done, source, destination } = ended;
  t.equal(done.reconnects, 1);
  t.equal(differences(source, destination), "", "no page differs between the sites");
  t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
  await checkAftermath(t, rig, "b", 0);
  return true;
}

t.test(
  "a VM that QEMU stops by itself while the link is lost runs on, and the leg goes on later",
  async (t) => {
    let isShown = false;
    for (let attempt = 1; !isShown && attempt <= mostAttempts; attempt++) {
      await t.test(`guest ${attempt}`, async (t) => {
        isShown = await loseLinkInSecondPass(t);
      });
    }
    t.ok(isShown, "the link was lost before QEMU stopped the VM");
  },
);
