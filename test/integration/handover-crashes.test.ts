/** Deaths in the handover, at each moment at which the two sites know different things. */

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { endsAs } from "../store/operation-errors.ts";
import { checkAftermath } from "./aftermath.ts";
import { handover, handoverToReleased } from "./handover.ts";
import { waitFor } from "./wait-for.ts";

t.test("the source's agent dies between PREPARED and RELEASED", async (t) => {
  const { rig, counter, end } = await handover(t);
  await rig.site("a").kill();
  t.equal((await end).error?.reason, "failed");
  await rig.untilAlive("a");
  await rig.testbed.restartSite("a");
  await checkAftermath(t, rig, "a", counter);
});

t.test("the destination's agent dies between PREPARED and RELEASED", async (t) => {
  const { rig, counter, end } = await handover(t);
  await rig.site("b").kill();
  // Its QEMU outlives it, with the VM loaded and paused.
  t.not(await rig.qemuPid("b"), null);
  await rig.testbed.restartSite("b");
  rig.resume("a");
  const { error } = await end;
  // Whether it was told of the death before or after RELEASED, the VM stays.
  t.equal(error?.reason, "aborted");
  await checkAftermath(t, rig, "a", counter);
});

t.test("both agents die between PREPARED and RELEASED", async (t) => {
  const { rig, counter } = await handover(t);
  await Promise.all([rig.site("a").kill(), rig.site("b").kill()]);
  await rig.untilAlive("a");
  await rig.testbed.restartSite("b");
  await rig.testbed.restartSite("a");
  await checkAftermath(t, rig, "a", counter);
});

t.test("the source's agent dies after RELEASED, and COMMIT is lost", async (t) => {
  const { rig, counter } = await handoverToReleased(t);
  await rig.site("a").kill();
  await rig.testbed.link("a", "b").cut();
  t.equal(await rig.runsAt("a"), false, "the source's copy waits: the other site may have the VM");
  await rig.testbed.restartSite("a");
  t.equal(await rig.runsAt("a"), false, "it still waits after the agent's restart");
  await rig.testbed.link("a", "b").restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("the source's agent dies after RELEASED, and COMMIT arrives", async (t) => {
  const { rig, counter } = await handoverToReleased(t, 2000);
  await rig.site("a").kill();
  await rig.untilAlive("b");
  await rig.testbed.restartSite("a");
  await checkAftermath(t, rig, "b", counter);
});

t.test("the destination's agent dies after RELEASED, and COMMIT is lost", async (t) => {
  const { rig, counter, end } = await handoverToReleased(t);
  await rig.site("b").kill();
  await rig.testbed.link("a", "b").cut();
  t.equal((await end).error?.reason, "inDoubt");
  t.equal(await rig.runsAt("a"), false, "the source's copy waits");
  await rig.testbed.restartSite("b");
  t.equal(await rig.qemuPid("b"), null, "the restarted destination has ended the copy that it does not own");
  await rig.testbed.link("a", "b").restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("both agents die after RELEASED, and COMMIT is lost", async (t) => {
  const { rig, counter } = await handoverToReleased(t);
  await Promise.all([rig.site("a").kill(), rig.site("b").kill()]);
  await rig.testbed.link("a", "b").cut();
  await rig.testbed.restartSite("a");
  t.equal(await rig.runsAt("a"), false, "the source's copy waits");
  await rig.testbed.restartSite("b");
  await rig.testbed.link("a", "b").restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("the link breaks after RELEASED and comes back", async (t) => {
  const { rig, counter, end } = await handoverToReleased(t);
  await rig.testbed.link("a", "b").cut();
  t.equal((await end).error?.reason, "inDoubt");
  t.equal(await rig.runsAt("a"), false, "the source's copy waits");
  t.equal(await rig.runsAt("b"), false, "the destination's copy never ran");
  await t.rejects(rig.site("a").ask("start", { vm: guestName }), endsAs("refused"), "it cannot be started");
  await t.rejects(rig.migrate("a", "b"), endsAs("refused"), "it cannot be migrated");
  await rig.testbed.link("a", "b").restore();
  await checkAftermath(t, rig, "a", counter);
});

t.test("the destination's agent dies when it owns the VM", async (t) => {
  const { rig, counter, end } = await handover(t);
  rig.resume("a");
  await waitFor("OWNED", () => (rig.site("b").logTail.includes('"state":"owned"') ? true : null));
  await rig.site("b").kill();
  await end;
  await rig.testbed.restartSite("b");
  await checkAftermath(t, rig, "b", counter);
});
