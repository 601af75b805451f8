import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Holders } from "../../cli/store/holders.ts";
import { expendable, prune } from "../../cli/store/retention.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { addImage, addOverlay, diskOf } from "./model-disks.ts";
import { firstMemory, ModelStore, page } from "./model-store.ts";

t.test("what the newest generations stand on stays", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(2);
  const full = await model.add(firstMemory(model.memoryBytes));
  const all = [...chain, full];
  t.strictSame(expendable(all, 1), [1, 2, 3]);
  t.strictSame(expendable(all, 2), [], "generation 3 needs 1 and 2");
  t.strictSame(expendable(all, 0), [1, 2, 3], "the newest always stays");
  t.strictSame(expendable(all, 1, [2]), [1, 3], "and what is in use");
  t.strictSame(expendable(all, 99), []);
  t.strictSame(expendable([], 3), []);
});

t.test("pruning removes the rest and leaves a store without findings", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const chain = await model.addChain(3);
  await model.compact(chain[2]);
  t.strictSame(await prune(model.core, model.key, model.store, 1), [2, 1]);
  t.strictSame(readdirSync(model.store.generationsPath).sort(), ["3", "4"]);
  const report = await verifyPaths([model.storePath]);
  t.strictSame(report.findings, []);
  t.equal(report.vms[0].newestRestorable, 4);
});

t.test("digests of a pruned generation that another site holds are kept", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const first = await model.add(firstMemory(model.memoryBytes));
  await model.add(firstMemory(model.memoryBytes));
  const holders = new Holders(model.store.path);
  const { generation, root } = first.manifest;
  await holders.record("c", { generation, root });
  t.strictSame(await prune(model.core, model.key, model.store, 1), [1]);
  const kept = await holders.readDigests(model.core, { generation, root });
  t.equal(kept?.digests.length, model.geometry.totalPages * 16);
  t.equal(Buffer.from(kept?.deviceDigest ?? []).toString("hex"), first.manifest.deviceDigest);
});

t.test("digests of a pruned generation's disks are kept too, where the key is at hand", async (t) => {
  const folder = t.testdir();
  for (const hasKey of [true, false]) {
    const model = await ModelStore.create(join(folder, String(hasKey)));
    const { core, key, store } = model;
    const disk = await addImage(model, "root", new Uint8Array(5 * page).fill(3));
    const named = await diskOf(model, disk);
    const first = await model.add(firstMemory(model.memoryBytes), null, "device", [named]);
    await model.add(firstMemory(model.memoryBytes), null, "device", [named]);
    const holders = new Holders(store.path);
    const { generation, root } = first.manifest;
    await holders.record("c", { generation, root });
    t.strictSame(await prune(core, hasKey ? key : null, store, 1), [1]);
    const kept = await holders.openDiskDigests(core, key, { generation, root }, "root", 5);
    if (hasKey) t.strictSame(kept?.digests.top(), named.top);
    else t.equal(kept, null);
    kept?.close();
    t.equal(await store.sweepImages(), 0, "the image is still named");
  }
});

t.test("images of pruned generations go with the next sweep, those that others stand on stay", async (t) => {
  const model = await ModelStore.create(t.testdir());
  const { core, key, store } = model;
  const base = await addImage(model, "root", new Uint8Array(20 * page).fill(3));
  const overlay = await addOverlay(model, base, new Map([[1, "data"]]), 1);
  const other = await addImage(model, "root", new Uint8Array(20 * page).fill(4));
  for (const image of [other, base, overlay]) {
    await model.add(firstMemory(model.memoryBytes), null, "device", [await diskOf(model, image)]);
  }
  t.strictSame(await prune(core, key, store, 1), [2, 1]);
  t.equal(await store.sweepImages(), 3, "descriptor, blocks and digests of one image");
  t.strictSame([...(await store.images.list()).keys()].sort(), [base.image.id, overlay.image.id].sort());
});
