import { pino } from "pino";
import t, { type Test } from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { longChainDeltas, tidyGenerations, tidyIfOverdue } from "../../cli/agent/housekeeping.ts";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { GenerationContent, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { firstMemory, ModelStore, nextMemory } from "../store/model-store.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

const definition = parseDefinition("name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n", "web1.yaml");

/** A site whose newest generation has so many deltas under it. */
async function siteWithDeltas(t: Test, deltas: number) {
  const folder = await shortFolder(t);
  const agent = await Agent.open(await configIn(folder), pino({ level: "silent" }));
  const vm = await agent.save(definition);
  const model = await ModelStore.create(folder);
  await agent.keys.accept("web1", model.key);
  let memory = firstMemory(model.memoryBytes);
  let newest: StoredGeneration = await model.add(memory);
  for (let i = 0; i < deltas; i++) {
    memory = nextMemory(memory, i + 1);
    newest = await model.add(memory, newest);
  }
  const below = async () => (await vm.store.list()).generations.at(-1)?.below.length;
  return { agent, vm, model, memory, below };
}

t.test("a chain of deltas that has become long is shortened before a leg, and reads as it did", async (t) => {
  const { agent, vm, model, memory, below } = await siteWithDeltas(t, longChainDeltas + 1);
  t.equal(await below(), longChainDeltas + 1);
  await vm.doing("migrate", ({ cancel }) => tidyIfOverdue(agent, vm, cancel.signal));
  t.equal(await below(), agent.config.keep - 1);
  const { generations } = await vm.store.list();
  const content = new GenerationContent(model.core, generations.at(-1) as StoredGeneration);
  t.teardown(() => content.close());
  const pages = model.geometry.totalPages;
  const target = model.core.allocate(model.memoryBytes);
  content.readPages(0, pages, target);
  t.ok(Buffer.from(model.core.bytes().subarray(target, target + model.memoryBytes)).equals(memory));
});

t.test(
  "an older generation that stays holds on to no long chain, if there was no time to tidy",
  async (t) => {
    const { agent, vm } = await siteWithDeltas(t, 12);
    await tidyGenerations(agent, vm);
    const { generations } = await vm.store.list();
    t.strictSame(
      generations.map(({ manifest, below }) => [manifest.generation, below.length]),
      [
        [12, 0],
        [13, 1],
      ],
    );
    t.equal(agent.config.keep, 2);
  },
);

t.test("where many generations stay, each of them gets a short chain", async (t) => {
  const { agent, vm } = await siteWithDeltas(t, 12);
  Object.assign(agent.config, { keep: 9 });
  await tidyGenerations(agent, vm);
  const { generations } = await vm.store.list();
  t.strictSame(
    generations.map(({ below }) => below.length),
    [0, 1, 2, 3, 0, 1, 2, 3, 0],
  );
});

t.test("a leg waits for no tidying that has time until after it", async (t) => {
  const { agent, vm, below } = await siteWithDeltas(t, longChainDeltas);
  await vm.doing("migrate", ({ cancel }) => tidyIfOverdue(agent, vm, cancel.signal));
  t.equal(await below(), longChainDeltas);
});

t.test("tidying that fails is tried again, and tells when it goes on failing", async (t) => {
  const { agent, vm, below } = await siteWithDeltas(t, longChainDeltas + 1);
  const list = vm.store.list.bind(vm.store);
  let failures = 1;
  vm.store.list = async () => {
    if (failures-- > 0) throw new Error("the image is in use");
    return await list();
  };
  await tidyGenerations(agent, vm, [1]);
  vm.store.list = list;
  t.equal(await below(), agent.config.keep - 1);
  vm.store.list = async () => {
    throw new Error("the image is in use");
  };
  await t.rejects(tidyGenerations(agent, vm, [1, 1]), { message: "the image is in use" });
});

t.test("VMs are tidied one after the other, also after one whose tidying has failed", async (t) => {
  const { agent } = await siteWithDeltas(t, 0);
  const steps: string[] = [];
  const tidying = (name: string, end: Promise<void>) =>
    agent.afterOtherTidying(async () => {
      steps.push(`${name} begins`);
      await end.finally(() => steps.push(`${name} ends`));
    });
  let failFirst: () => void = () => {};
  const first = tidying(
    "first",
    new Promise((_resolve, reject) => {
      failFirst = () => reject(new Error("the disk is full"));
    }),
  );
  const second = tidying("second", Promise.resolve());
  await new Promise((resolve) => setImmediate(resolve));
  t.strictSame(steps, ["first begins"]);
  failFirst();
  await t.rejects(first, /the disk is full/);
  await second;
  t.strictSame(steps, ["first begins", "first ends", "second begins", "second ends"]);
});
