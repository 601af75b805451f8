/** Checkpoints of a VM that is to have a standing migration: it is given up before, and made again on what the checkpoint made. */

import t from "tap";
import { checkpoint } from "./checkpoint-rig.ts";
import { differences } from "./memory.ts";
import { Rig } from "./rig.ts";
import { untilStanding } from "./standing-rig.ts";

t.test("a standing migration stands on the newest checkpoint, and a leg goes on from it", async (t) => {
  const rig = await Rig.boot(t, { tracking: "standing" });
  for (const generation of [1, 2]) {
    t.equal((await checkpoint(rig, "a", "b")).generation, generation);
    t.equal((await untilStanding(rig, "a")).generation, generation);
    await rig.change("a", "rewrite", 2048, 256);
  }
  const { done, source, destination } = await rig.comparedLeg("a", "b");
  t.equal(done.tracking, "standing");
  t.equal(done.leg, "return");
  t.equal(differences(source, destination), "");
  t.strictSame(rig.model.check(destination), []);
  await rig.untilAlive("b");
  t.strictSame(rig.runs.overlaps(), []);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, []);
});
