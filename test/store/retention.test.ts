import { readdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { Holders } from "../../cli/store/holders.ts";
import { expendable, keptGenerations, prune } from "../../cli/store/retention.ts";
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

t.test(
  "seeds push nothing out that can be restarted, and only the newest is kept for its own sake",
  async (t) => {
    const model = await ModelStore.create(t.testdir());
    const memory = firstMemory(model.memoryBytes);
    const numbers = (generations: readonly StoredGeneration[]) =>
      generations.map(({ manifest }) => manifest.generation);
    const add = (base: StoredGeneration | null, device: string | null) => model.add(memory, base, device);
    const one = await add(null, "device");
    const two = await add(one, "device");
    const three = await add(two, null);
    const four = await add(three, null);
    const five = await add(null, null);
    const all = [one, two, three, four, five];
    t.strictSame(numbers(keptGenerations(all, 1)), [2, 5]);
    t.strictSame(numbers(keptGenerations(all, 2)), [1, 2, 5]);
    t.strictSame(numbers(keptGenerations(all.slice(0, 4), 1)), [2, 4]);
    t.strictSame(numbers(keptGenerations([three], 1)), [3], "it is all that there is");
    t.strictSame(expendable(all, 2), [3, 4], "nothing stands on these any more");
    t.strictSame(expendable(all.slice(0, 4), 2), [], "generation 4 stands on 3");
    const six = await add(five, "device");
    t.strictSame(
      numbers(keptGenerations([...all, six], 1)),
      [6],
      "what is newer than the seed can be restarted",
    );
    t.strictSame(expendable([...all, six], 1), [1, 2, 3, 4], "but stands on it");
    t.strictSame(await prune(model.core, model.key, model.store, 1), [4, 3, 2, 1]);
    const report = await verifyPaths([model.storePath]);
    t.strictSame(report.findings, []);
    t.match(report.vms[0], {
      newestRestorable: 6,
      generations: [
        { generation: 5, seed: true, intact: true, restorable: false },
        { generation: 6, seed: false, intact: true, restorable: true },
      ],
    });
  },
);

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
