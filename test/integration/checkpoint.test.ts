/** Checkpoints: the VM runs on, and the peer has a state that it can restart. */

import t from "tap";
import { guestName } from "../../cli/demo/testbed.ts";
import { checkpoint, comparedCheckpoint, generationMemory, haltingRig, ramOnly } from "./checkpoint-rig.ts";
import type { TestDisk } from "./disk-files.ts";
import { counterIn, differences } from "./memory.ts";

const MIB = 1 << 20;
const twoDisks: readonly TestDisk[] = [
  { id: "disk0", lengthBytes: 64 * MIB + 512, kind: "template", initial: ["write -P 3 0 8M"] },
  { id: "disk1", lengthBytes: 32 * MIB, bus: "virtio-scsi", kind: "raw", initial: ["write -P 4 8M 4M"] },
];

t.test("the peer restarts exactly the state of the pause, with memory and disks", async (t) => {
  const bed = await haltingRig(t, twoDisks);
  const { disks } = bed;
  const { rig } = disks;
  const pauses: number[] = [];
  let last: Awaited<ReturnType<typeof comparedCheckpoint>> | null = null;
  for (const round of [0, 1, 2]) {
    await disks.io("a", "disk0", `write -P ${20 + round} ${round + 1}M 300k`);
    await disks.io("a", "disk1", `write -P ${30 + round} ${9 * MIB + round * 4096} 64k`);
    await rig.change("a", "rewrite", 200 * round, 300);
    const counter = await rig.counter("a");
    last = await comparedCheckpoint(bed, "a", "b");
    const { done, memory, twins } = last;
    pauses.push((await checkpoint(rig, "a", "b")).pauseMs);
    t.equal(done.leg, round === 0 ? "first" : "return");
    t.equal(done.epoch, 1, "the ownership is as it was");
    for (const site of ["a", "b"]) {
      const kept = await generationMemory(rig, site, done.generation);
      t.equal(differences(ramOnly(kept), ramOnly(memory)), "", `RAM at ${site}`);
      t.strictSame(await disks.generationDifferences(site, done.generation, twins), [], `disks at ${site}`);
    }
    t.strictSame(rig.model.check(memory), [], "it is what the guest should have made");
    t.ok(counterIn(memory) > counter);
    await rig.untilAlive("a");
    t.strictSame(await disks.differences("a"), [], "the VM's disks are as they must be");
  }
  t.comment(`pauses: ${pauses.join(", ")} ms`);

  await t.test("what changed later is not in it", async () => {
    last = await comparedCheckpoint(bed, "a", "b");
    await disks.io("a", "disk0", "write -P 99 1M 1M");
  });
  const { done, memory, twins } = last as NonNullable<typeof last>;
  await rig.site("a").kill();
  await rig.killQemu("a");
  const recovered = await rig.site("b").ask("recover", { vm: guestName, generation: null, force: true });
  t.equal(recovered["generation"], done.generation);
  await rig.untilAlive("b");
  await disks.restoreTwins(twins);
  t.strictSame(await disks.differences("b"), [], "its disks are those of the pause");
  const now = await rig.stoppedDump("b");
  t.strictSame(rig.model.check(now), [], "and so is its memory");
  t.ok(counterIn(now) >= counterIn(memory));
  t.strictSame(rig.runs.overlaps(), []);
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});
