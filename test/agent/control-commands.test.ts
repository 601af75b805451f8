import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import t, { type Test } from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { commands } from "../../cli/agent/control-commands.ts";
import { Holders } from "../../cli/store/holders.ts";
import { ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { configIn, openAgent, shortFolder } from "./agent-fixture.ts";

/** An agent that finds a VM with a full generation and two deltas in its store. */
async function withGenerations(t: Test): Promise<{ agent: Agent; model: ModelStore }> {
  const folder = await shortFolder(t);
  const model = await ModelStore.create(folder);
  await model.addChain(2);
  const text = "name: web1\nmemory: 2MiB\nmachine: pc-i440fx-7.2\n";
  await writeFile(join(model.store.path, "vm.yaml"), text);
  // Neither is a VM: a folder without a definition, and a name that no VM can have.
  await mkdir(join(model.storePath, "empty"));
  await mkdir(join(model.storePath, "Not-A-VM"));
  const agent = await Agent.open(await configIn(folder), pino({ level: "silent" }));
  return { agent, model };
}

async function run(agent: Agent, name: string, body: object): Promise<Record<string, unknown>> {
  const command = commands[name];
  const signal = new AbortController().signal;
  return (await command.run({ agent, signal, send: () => {} }, command.body.parse(body))) as never;
}

t.test("list and show tell what is defined, who owns it, and what is going on", async (t) => {
  const { agent, model } = await withGenerations(t);
  const described = {
    vm: "web1",
    ownership: "none",
    epoch: 0,
    peer: null,
    running: false,
    pid: null,
    qmp: null,
    memoryBytes: 2 << 20,
    newestGeneration: 3,
    activity: null,
  };
  const list = await run(agent, "list", {});
  t.match(list, { event: "done", site: "a", vms: [described] });
  t.equal((list["vms"] as unknown[]).length, 1);
  await new Holders(model.store.path).record("c", { generation: 2, root: "2".repeat(64) });
  await agent.ownership.write({
    format: 1,
    vm: "web1",
    state: "away",
    epoch: 4,
    generation: 3,
    peer: "b",
    refusedEpoch: 0,
  });
  const vm = agent.require("web1");
  await vm.doing("migrate", async (activity) => {
    activity.state = "rounds";
    t.match(await run(agent, "show", { vm: "web1" }), {
      ...described,
      ownership: "away",
      epoch: 4,
      peer: "b",
      activity: { what: "migrate", state: "rounds", progress: null },
      holders: { c: { generation: 2 } },
      definition: { name: "web1", cpu: "qemu64" },
    });
  });
});

t.test("generations are listed oldest first, with what is not usable", async (t) => {
  const { agent, model } = await withGenerations(t);
  await mkdir(join(model.store.generationsPath, "9"));
  const done = await run(agent, "generations", { vm: "web1" });
  t.match(done["generations"], [
    { generation: 1, base: null, chain: 1, from: "a", to: "b" },
    { generation: 2, base: 1, chain: 2 },
    { generation: 3, base: 2, chain: 3 },
  ]);
  for (const { diskBytes, ageMs } of done["generations"] as { diskBytes: number; ageMs: number }[]) {
    t.ok(diskBytes > 0);
    t.ok(ageMs > 0);
  }
  t.match(done["unusable"], [{ directory: /\/9$/, reason: /manifest/ }]);
});

t.test("prune removes what may go, and nothing that the newest ones stand on", async (t) => {
  const { agent, model } = await withGenerations(t);
  t.match(await run(agent, "prune", { vm: "web1", keep: 1 }), { event: "done", removed: [] });
  await model.add(model.memories.get(3) as Uint8Array);
  const { removed } = (await run(agent, "prune", { vm: "web1", keep: 1 })) as { removed: number[] };
  t.strictSame(removed.sort(), [1, 2, 3]);
});

t.test("cancel ends what is going on with a VM, and says so when that is nothing", async (t) => {
  const { agent } = await withGenerations(t);
  t.match(await run(agent, "cancel", { vm: "web1" }), { event: "done", cancelled: null });
  await agent.require("web1").doing("migrate", async ({ cancel }) => {
    t.match(await run(agent, "cancel", { vm: "web1" }), { cancelled: "migrate" });
    t.ok(cancel.signal.aborted);
  });
});

t.test("what needs the VM here is refused, before any QEMU is started", async (t) => {
  const { agent } = await withGenerations(t);
  const leg = { vm: "web1", to: "b", downtimeLimitMs: 300, timeoutMs: null, bitsPerSecond: null };
  await t.rejects(run(agent, "migrate", leg), { ...endsAs("refused"), message: /does not own it \(none\)/ });
  for (const streams of [0, 17, 1.5, "4"]) {
    await t.rejects(run(agent, "migrate", { ...leg, streams }), /streams/);
  }
  await t.rejects(run(agent, "migrate", { ...leg, streams: 16 }), endsAs("refused"));
  await t.rejects(run(agent, "stop", { vm: "web1", force: true, timeoutMs: 1 }), /does not run here/);
  await t.rejects(run(agent, "recover", { vm: "web1", generation: null, force: false }), endsAs("refused"));
  await t.rejects(
    run(agent, "attach", { vm: "web1", qmpPath: "/nowhere/qmp.sock" }),
    /Cannot attach to QMP at \/nowhere\/qmp\.sock/,
  );
  const away = {
    format: 1,
    vm: "web1",
    state: "away",
    epoch: 2,
    generation: 1,
    peer: "b",
    refusedEpoch: 0,
  } as const;
  await agent.ownership.write(away);
  await t.rejects(run(agent, "start", { vm: "web1" }), {
    ...endsAs("refused"),
    message: /Cannot start web1 here: b has it; 'bfmig recover' restarts a retained generation/,
  });
  t.strictSame(await agent.ownership.read("web1"), away, "ownership is as it was");
  t.equal(agent.require("web1").activity, null);
});

t.test("a VM that is not defined is told with those that are", async (t) => {
  const { agent } = await withGenerations(t);
  for (const [name, body] of Object.entries({
    show: { vm: "db1" },
    start: { vm: "db1" },
    generations: { vm: "../../etc" },
    prune: { vm: "db1", keep: 1 },
    cancel: { vm: "db1" },
  })) {
    await t.rejects(run(agent, name, body), {
      ...endsAs("failed"),
      message: /^Cannot find VM .*; defined here: web1$/,
    });
  }
});

t.test("a definition that makes no sense is refused, and nothing is kept of it", async (t) => {
  const agent = await openAgent(t);
  await t.rejects(run(agent, "define", { text: "name: web1\nmemory: 1\n", path: "web1.yaml" }), {
    ...endsAs("usage"),
    message: /^Cannot use web1\.yaml:2: memory: /,
  });
  t.strictSame(agent.list(), []);
});
