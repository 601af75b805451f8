/** QEMU stops the VM by itself while the link is lost: nobody can take it over then. */

import t from "tap";
import { checkAftermath, slowBitsPerSecond } from "./aftermath.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { waitFor } from "./wait-for.ts";

t.test(
  "a VM that QEMU stops by itself while the link is lost runs on, and the leg goes on later",
  async (t) => {
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
    /** True when the link was lost first; a guest that gets no processor may be stopped before that. */
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
    const attempt = async () => {
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
      if (losing !== null && (await losing)) return await leg;
      await link.restore();
      if ("error" in ended) {
        t.equal(
          ended.error.reason,
          "aborted",
          "a leg whose VM stands still does not wait for the link for long",
        );
      } else {
        await rig.untilAlive("b");
        await rig.comparedLeg("b", "a");
      }
      await rig.untilAlive("a");
      await rig.idle("a");
      return null;
    };
    let found = await attempt();
    for (let more = 0; found === null && more < 9; more++) found = await attempt();
    if (found === null) throw new Error("QEMU has stopped the VM ten times before the link was lost");
    const { done, source, destination } = found;
    t.equal(done.reconnects, 1);
    t.equal(differences(source, destination), "", "no page differs between the sites");
    t.strictSame(rig.model.check(destination), [], "it is what the guest should have made");
    await checkAftermath(t, rig, "b", 0);
  },
);
