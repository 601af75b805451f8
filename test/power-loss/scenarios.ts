/** What sites do with their stores, by the product's own code, as far as it needs no guest. */

import { join } from "node:path";
import { writeFileAtomically } from "../../cli/store/atomic-file.ts";
import { compact } from "../../cli/store/compaction.ts";
import { removeFenceMarker, writeFenceMarker } from "../../cli/store/fence-marker.ts";
import { readDigests } from "../../cli/store/generation-reader.ts";
import { beginGeneration, type GenerationWriter } from "../../cli/store/generation-writer.ts";
import { Holders } from "../../cli/store/holders.ts";
import { IntegrityLedger } from "../../cli/store/integrity.ts";
import { prune } from "../../cli/store/retention.ts";
import { lockStore } from "../../cli/store/store-lock.ts";
import { fromHex } from "../../src/bytes.ts";
import { firstMemory, nextMemory } from "../store/model-store.ts";
import { diskScenario } from "./disk-scenarios.ts";
import { scenarioVm } from "./snapshot.ts";
import type { Stage } from "./stage.ts";

const time = "2024-01-01T00:00:00.000Z";

/** Scenarios by name. They run in a process of their own; see `scenario-child.ts`. */
export const scenarios: Readonly<Record<string, (stage: Stage) => Promise<void>>> = {
  /** A site that has nothing becomes the VM's owner with its first generation. */
  async arrival(stage) {
    const { model, keys } = stage;
    const { store, key } = model;
    await stage.begin();
    const lock = await stage.step("lock the store", () => lockStore(model.storePath));
    await stage.step("take the key", () => keys.accept(scenarioVm, key));
    await stage.step("save the definition", async () => {
      await store.prepare();
      await writeFileAtomically(join(store.path, "vm.yaml"), `name: ${scenarioVm}\n`);
    });
    const first = await stage.step("commit generation 1", () => model.add(firstMemory(model.memoryBytes)));
    await stage.step("record OWNED", () => stage.own("owned", 1, 1));
    await stage.step("note that it is intact", () => new IntegrityLedger(store).record(first));
    lock.release();
  },

  /** The VM leaves, and the source keeps its own copy, which is a delta; then it is settled otherwise. */
  async departure(stage) {
    const { model } = stage;
    await stage.settle();
    const memory = firstMemory(model.memoryBytes);
    const first = await model.add(memory);
    await stage.begin();
    await stage.step("record RELEASED", () => stage.own("released", 2, 2));
    const second = await stage.step("seal the copy", () =>
      model.add(nextMemory(memory, 1), first, "device 2"),
    );
    await stage.step("note that it is intact", () => new IntegrityLedger(model.store).record(second));
    await stage.step("record away", () => stage.own("away", 2, 2));
    await stage.step("refuse an epoch", async () => {
      const record = await stage.ownership.read(scenarioVm);
      await stage.ownership.write({ ...record, refusedEpoch: 7 });
    });
  },

  /** A long chain is shortened, checked, and what it stood on goes. */
  async tidying(stage) {
    const { model } = stage;
    const { core, key, store } = model;
    await stage.settle();
    const chain = await model.addChain(3);
    const [first] = chain;
    await new Holders(store.path).record("c", { generation: 1, root: first.manifest.root });
    const ledger = new IntegrityLedger(store);
    await ledger.record(chain[3]);
    await stage.begin();
    const compacted = await stage.step("compact generation 4", () => compact(core, chain[3]));
    await stage.step("check it", () => ledger.check(core, key, compacted));
    await stage.step("prune", () => prune(core, key, store, 1));
    await stage.step("hear of a newer one", () => {
      return new Holders(store.path).record("c", { generation: 4, root: compacted.manifest.root });
    });
  },

  /** A compaction in the middle of a chain, then generations go one after the other. */
  async removal(stage) {
    const { model } = stage;
    await stage.settle();
    const chain = await model.addChain(3);
    await stage.begin();
    await stage.step("compact generation 3", () => compact(model.core, chain[2]));
    await stage.step("remove generation 4", () => model.store.remove(4));
    await stage.step("remove generation 2", () => model.store.remove(2));
    await stage.step("remove generation 1", () => model.store.remove(1));
  },

  /** Legs that come to nothing, before and after their generation was in force. */
  async failure(stage) {
    const { model } = stage;
    const { core, geometry, store, vm } = model;
    await stage.settle();
    const memory = firstMemory(model.memoryBytes);
    const first = await model.add(memory);
    await stage.begin();
    await stage.step("give up before the end", async () => {
      const target = { vm, generation: 2, legId: "given-up" };
      const writer = beginGeneration(core, store.generationsPath, target, geometry, first);
      await writer.discard();
    });
    await stage.step("give up after the commit", async () => {
      let given: GenerationWriter | null = null;
      await model.add(nextMemory(memory, 1), first, "device", async (writer) => {
        given = writer;
        return [];
      });
      await (given as GenerationWriter | null)?.discard();
    });
    await stage.step("sweep", () => store.sweep());
  },

  /** What other sites hold: digests alone. */
  async holders(stage) {
    const { model } = stage;
    const { core, store } = model;
    await stage.settle();
    const first = await model.add(firstMemory(model.memoryBytes));
    const { root, generation, deviceDigest } = first.manifest;
    const holders = new Holders(store.path);
    await stage.begin();
    const content = { digests: await readDigests(first), deviceDigest: fromHex(deviceDigest) };
    await stage.step("keep digests", () => holders.keepDigests(core, { generation, root }, content));
    await stage.step("note a holder", () => holders.record("c", { generation, root }));
    await stage.step("note another", () => holders.record("d", { generation, root }));
    await stage.step("forget digests", () => holders.forgetDigests({ generation, root }));
  },

  /** A site that was superseded keeps what it had aside, and an operator removes that later. */
  async branch(stage) {
    const { store, vm } = stage.model;
    await stage.settle();
    const name = "1-b";
    const by = { site: "b", epoch: 3 };
    const fenced = { format: 1, epoch: 1, by, generation: 0 } as const;
    await stage.begin();
    await stage.step("note that fencing begins", () =>
      writeFenceMarker(store.path, { ...fenced, branch: name, startedAt: time }),
    );
    await stage.step("record away", () => stage.own("away", 3, 0));
    await stage.step("keep the branch", () =>
      store.branches.put({ ...fenced, name, vm, createdAt: time, memory: false, disks: [], problem: null }),
    );
    await stage.step("note that it is done", () => removeFenceMarker(store.path));
    await stage.step("remove the branch", () => store.branches.remove(name));
  },

  disks: diskScenario,
};
