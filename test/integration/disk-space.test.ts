/** Disk space that images take over many legs: what no generation needs is merged or removed, wherever the VM is. */

import t from "tap";
import { longChainDeltas } from "../../cli/agent/housekeeping.ts";
import { longChainImages } from "../../cli/agent/tidy-images.ts";
import { guestName } from "../../cli/demo/testbed.ts";
import { DiskRig } from "./disk-rig.ts";
import { waitFor } from "./wait-for.ts";

const MIB = 1 << 20;
const legs = 12;
const keep = 1;
/** Generations at rest: those kept, and the deltas that they stand on before their chain is made complete. */
const mostGenerations = keep + 4;
/** Over the file at the bottom: an image for each generation, the one that the VM writes to, and one received in a leg. */
const mostImages = 1 + mostGenerations + 2;

t.test("images stay few over many legs, and hold what the guest has written", async (t) => {
  const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 64 * MIB + 512, kind: "qcow2" }], {
    keep,
  });
  const { rig } = disks;
  await disks.fill("a", "disk0", 0, 4 * MIB);
  let merges = 0;
  let [at, to] = ["a", "b"];
  for (let leg = 1; leg <= legs; leg++) {
    await disks.fill(at, "disk0", leg * MIB, 256 * 1024);
    await disks.io(at, "disk0", `write -z ${leg * 128}k 64k`);
    const done = await rig.migrate(at, to);
    t.equal(done.leg, leg === 1 ? "first" : "return", `leg ${leg}`);
    [at, to] = [to, at];
    await rig.untilAlive(at);
    for (const site of ["a", "b"]) {
      const before = await countImages(disks, site);
      t.ok(before <= mostImages, `${before} images at ${site} after leg ${leg}`);
      // Tidying goes on in the background: what it leaves is what the next leg finds.
      await waitFor(`site ${site} is tidy`, async () => isTidy(disks, site));
      const after = await countImages(disks, site);
      if (after < before) merges++;
    }
    t.strictSame(await disks.differences(at), [], "the disk is what the guest has made of it");
  }
  t.ok(merges > 0, "images were merged while the VM ran, or while it was away");
  t.ok(mostImages < longChainImages, "the bound is below that at which a leg has to wait");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});

async function countImages(disks: DiskRig, site: string): Promise<number> {
  return (await (await disks.store(site)).images.list()).size;
}

/** True once every image but the lowest is named by a generation or written to. */
async function isTidy(disks: DiskRig, site: string): Promise<true | null> {
  const { rig } = disks;
  const store = await disks.store(site);
  const { generations } = await store.list();
  if (generations.length > mostGenerations) return null;
  const named = new Set(generations.flatMap(({ manifest }) => manifest.disks.map(({ image }) => image)));
  for (const id of Object.values((await store.images.current()).images)) named.add(id);
  const shown = (await rig.site(site).ask("show", { vm: guestName })) as unknown as { activity: unknown };
  if (shown.activity !== null) return null;
  const all = [...(await store.images.list()).values()];
  const unnamed = all.filter(({ id, backing }) => backing !== null && !named.has(id));
  return unnamed.length === 0 || null;
}

t.test("legs in quick order do not let chains grow without end", async (t) => {
  const disks = await DiskRig.boot(t, [{ id: "disk0", lengthBytes: 16 * MIB, kind: "qcow2" }], { keep });
  const { rig } = disks;
  await disks.fill("a", "disk0", 0, MIB);
  let [at, to] = ["a", "b"];
  let mostDeltas = 0;
  for (let leg = 1; leg <= longChainDeltas + 4; leg++) {
    // Sooner than a site begins to tidy.
    await rig.migrate(at, to);
    [at, to] = [to, at];
    const newest = (await (await disks.store(at)).list()).generations.at(-1);
    mostDeltas = Math.max(mostDeltas, newest?.below.length ?? 0);
    t.ok((await countImages(disks, at)) <= longChainImages + 4, `images after leg ${leg}`);
  }
  t.ok(mostDeltas <= longChainDeltas + 1, `at most ${mostDeltas} deltas over one another`);
  await rig.untilAlive(at);
  t.strictSame(await disks.differences(at), [], "the disk is what the guest has made of it");
  const { findings } = await rig.verifyStores(["a", "b"]);
  t.strictSame(findings, [], "the verifier finds nothing wrong");
});
