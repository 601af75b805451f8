import { existsSync } from "node:fs";
import t from "tap";
import { parseDefinition } from "../../cli/config/vm-definition.ts";
import { openAgent } from "./agent-fixture.ts";

const definition = parseDefinition("name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n", "web1.yaml");

t.test("a VM that came with a failed leg is forgotten, with all that is left of it", async (t) => {
  const agent = await openAgent(t);
  const vm = await agent.save(definition);
  await agent.forget(vm);
  t.equal(agent.find("web1"), null);
  t.notOk(existsSync(vm.store.path));
});

t.test("a promise that is made while it is being forgotten stays, and so does the VM", async (t) => {
  const agent = await openAgent(t);
  const vm = await agent.save(definition);
  let forgetting: Promise<void> = Promise.resolve();
  await vm.exclusively(async () => {
    const record = await agent.ownership.read("web1");
    forgetting = agent.forget(vm);
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    await agent.ownership.write({ ...record, refusedEpoch: 2 });
  });
  await forgetting;
  t.equal(agent.find("web1"), vm);
  t.match(await agent.ownership.read("web1"), { refusedEpoch: 2 });
});
