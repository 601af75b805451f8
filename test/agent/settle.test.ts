import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import t, { type Test } from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { settle } from "../../cli/agent/settle.ts";
import { QmpClient } from "../../cli/qemu/qmp-client.ts";
import { fakeQmpServer, idOf } from "../qemu/fake-qmp-server.ts";
import { ModelStore } from "../store/model-store.ts";
import { connectionPair } from "../wan/connection-pair.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

/** A QEMU that a handover has stopped, and that refuses `cont` so many times. */
async function stoppedQemu(t: Test, refusals: number) {
  let asked = 0;
  let runs: () => void = () => {};
  const running = new Promise<void>((resolve) => {
    runs = resolve;
  });
  let isRunning = false;
  const path = await fakeQmpServer(t, (line, socket) => {
    const { execute } = JSON.parse(line) as { execute: string };
    const id = idOf(line);
    const answer = (body: object) => socket.write(`${JSON.stringify({ ...body, id })}\n`);
    if (execute === "cont" && asked++ < refusals) {
      answer({ error: { class: "GenericError", desc: "No space left on device" } });
      return;
    }
    if (execute === "cont") {
      isRunning = true;
      runs();
    }
    const status = { status: isRunning ? "running" : "postmigrate", running: isRunning };
    answer({ return: execute === "query-status" ? status : {} });
  });
  const qmp = await QmpClient.connect(path);
  t.teardown(() => qmp.close());
  return { qmp, running, asked: () => asked };
}

/** Site a has released the VM to b, which has refused it. */
async function refusedHandover(t: Test, refusals: number) {
  const folder = await shortFolder(t);
  const { store } = await ModelStore.create(folder, "web1");
  await writeFile(join(store.path, "vm.yaml"), "name: web1\nmemory: 2MiB\nmachine: pc-i440fx-7.2\n");
  const agent = await Agent.open(await configIn(folder), pino({ level: "silent" }));
  t.teardown(() => agent.stop());
  const released = { format: 1, vm: "web1", state: "released", epoch: 3, generation: 1 } as const;
  await agent.ownership.write({ ...released, peer: "b", refusedEpoch: 0 });
  const { a, b } = await connectionPair(t);
  t.intercept(agent, "connect", { value: async () => a });
  const qemu = await stoppedQemu(t, refusals);
  const vm = agent.require("web1");
  vm.adopt({ kind: "attached", qmpPath: "", qmp: qemu.qmp }, () => {});
  const settled = settle(agent, vm);
  const { epoch } = await b.expect("settle", 10_000);
  b.send({ type: "settled", vm: "web1", epoch, newest: epoch, outcome: "refused" });
  return { agent, vm, qemu, settled };
}

t.test("a VM that the peer has refused runs on here", async (t) => {
  const { agent, vm, qemu, settled } = await refusedHandover(t, 0);
  t.equal(await settled, "taken-back");
  t.equal(await vm.isRunningHere(), true);
  t.equal(qemu.asked(), 1);
  t.match(await agent.ownership.read("web1"), { state: "owned", epoch: 4 });
});

t.test("what keeps it from running on here may pass: it is tried again until it runs", async (t) => {
  const { agent, vm, qemu, settled } = await refusedHandover(t, 2);
  t.equal(await settled, "taken-back", "it is this site's in any case");
  t.match(await agent.ownership.read("web1"), { state: "owned", epoch: 4 });
  await qemu.running;
  t.equal(await vm.isRunningHere(), true);
  t.equal(qemu.asked(), 3);
});
