import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import t from "tap";
import { WebSocket } from "ws";
import { dial } from "../../cli/wan/handshake.ts";
import { shortFolder } from "../agent/agent-fixture.ts";
import { ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { jsonLines, runProgram, startAgent, writeSite } from "./program.ts";

/** Every file and folder below, with the files' content. */
function snapshot(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  if (!existsSync(folder)) return found;
  for (const name of (readdirSync(folder, { recursive: true }) as string[]).sort()) {
    const path = join(folder, name);
    found[name] = statSync(path).isFile() ? readFileSync(path).toString("base64") : "folder";
  }
  return found;
}

/** A store with a VM that has two generations and what an unfinished leg left. */
async function storeWithVm(folder: string): Promise<ModelStore> {
  const model = await ModelStore.create(folder);
  await model.addChain(1);
  writeFileSync(join(model.store.path, "vm.yaml"), "name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n");
  return model;
}

function leavePartial(model: ModelStore): string {
  const path = join(model.store.generationsPath, ".partial-leg");
  mkdirSync(path);
  writeFileSync(join(path, "ram.img"), "half of it");
  return path;
}

t.test("SIGTERM and SIGINT end an agent with 0, and nothing of the store is removed", async (t) => {
  const folder = await shortFolder(t);
  const model = await storeWithVm(folder);
  const config = await writeSite(folder);
  const before = snapshot(model.storePath);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const agent = await startAgent(t, config);
    t.equal(statSync(agent.control).mode & 0o777, 0o600);
    const list = await runProgram(["list", "--json", "--control", agent.control]);
    t.match(jsonLines(list), [{ event: "done", site: "a", vms: [{ vm: "web1", newestGeneration: 2 }] }]);
    agent.child.kill(signal);
    t.match(await agent.end, { code: 0, signal: null }, signal);
    t.strictSame(snapshot(model.storePath), before, signal);
    t.notOk(existsSync(agent.control), "its socket is gone");
  }
});

t.test("what unfinished legs left is removed by the next start", async (t) => {
  const folder = await shortFolder(t);
  const model = await storeWithVm(folder);
  const before = snapshot(model.storePath);
  leavePartial(model);
  await startAgent(t, await writeSite(folder));
  t.strictSame(snapshot(model.storePath), before);
});

t.test("a second agent on the same store is refused, and disturbs the first one in nothing", async (t) => {
  const folder = await shortFolder(t);
  const model = await storeWithVm(folder);
  const config = await writeSite(folder);
  const agent = await startAgent(t, config);
  const partial = leavePartial(model);
  const before = snapshot(model.storePath);
  const second = await runProgram(["agent", "--config", config, "--json"]);
  t.equal(second.code, 1);
  t.match(jsonLines(second), [{ event: "error", message: /store .*another agent has it/ }]);
  t.ok(existsSync(partial), "what may be a leg under way is left alone");
  t.strictSame(snapshot(model.storePath), before);
  t.match(await runProgram(["list", "--control", agent.control]), { code: 0, out: /web1/ });
});

t.test("a second agent with the same socket is refused, though its store is another", async (t) => {
  const folder = await shortFolder(t);
  const first = await startAgent(t, await writeSite(join(folder, "a")));
  const config = await writeSite(join(folder, "b"), { site: "b", control: first.control });
  const second = await runProgram(["agent", "--config", config, "--json"]);
  t.equal(second.code, 1);
  t.match(jsonLines(second), [{ event: "error", message: /control socket .*another agent listens there/ }]);
  t.match(await runProgram(["list", "--control", first.control]), { code: 0 });
});

t.test("an agent whose port is taken ends with 1 instead of staying half alive", async (t) => {
  const folder = await shortFolder(t);
  const first = await startAgent(t, await writeSite(join(folder, "a")));
  const config = await writeSite(join(folder, "b"), { site: "b", listen: `127.0.0.1:${first.port}` });
  const second = await runProgram(["agent", "--config", config]);
  t.match(second, { code: 1, err: /Cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/ });
  t.notOk(existsSync(join(folder, "b", "agent.sock")));
});

t.test("a VM that is not known, by the program: 1, with those that are", async (t) => {
  const folder = await shortFolder(t);
  await storeWithVm(folder);
  const { control } = await startAgent(t, await writeSite(folder));
  const message = 'Cannot find VM "db1" at site a; defined here: web1';
  for (const args of [["show"], ["start"], ["migrate", "--to", "b"], ["recover"], ["prune", "--keep", "1"]]) {
    const end = await runProgram([...args, "db1", "--json", "--control", control]);
    t.equal(end.code, 1, args[0]);
    t.strictSame(jsonLines(end), [{ event: "error", reason: "failed", code: 1, message }], args[0]);
    t.equal(end.err, `bfmig: ${message}\n`, args[0]);
  }
  const definition = join(folder, "db1.yaml");
  const wrong: [disk: string, message: RegExp][] = [
    ["{id: D}", /db1\.yaml:4: disks\.0\.id: ids of disks have 1 to 15 characters/],
    ["{id: d, size: 1000}", /db1\.yaml:4: disks\.0\.size: a disk's size must be a multiple of 512 bytes/],
    ["{id: d}", /Cannot use disk d: it has no file; name an image in its field 'file'/],
    ["{id: d, file: gone.qcow2}", /Cannot use disk d: ENOENT: .*gone\.qcow2/],
    [
      "{id: d, file: db1.yaml, size: 4KiB}",
      /Cannot use disk d: .*db1\.yaml has \d+ bytes, which is no multiple of 512/,
    ],
  ];
  for (const [disk, err] of wrong) {
    writeFileSync(definition, `name: db1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\ndisks: [${disk}]\n`);
    t.match(await runProgram(["define", definition, "--control", control]), { code: 2, err }, disk);
  }
  t.match(await runProgram(["migrate", "web1", "--to", "b", "--control", control]), { code: 6 });
});

t.test("what is listed and shown reads well on a terminal", async (t) => {
  const folder = await shortFolder(t);
  const model = await storeWithVm(folder);
  cpSync(join(model.store.generationsPath, "2"), join(model.store.generationsPath, "7"), { recursive: true });
  const { control } = await startAgent(t, await writeSite(folder));
  const run = (...args: string[]) => runProgram([...args, "--control", control]);
  const list = await run("list");
  t.match(
    list.out,
    /^VM +STATE +MEMORY +MACHINE +GENERATION *\nweb1 +stopped +64\.0 MiB +pc-i440fx-7\.2 +2 *\n$/,
  );
  t.match((await run("show", "web1")).out, /ownership +none, epoch 0/);
  const generations = await run("generations", "web1");
  t.match(generations.out, /\n1 +complete +a to b .*\n2 +delta on 1 +a to b /);
  t.match(generations.err, /^bfmig: .*\/7 is not usable: its manifest is of generation 2 of web1\n$/);
  t.equal(generations.code, 0);
  t.match(await run("prune", "web1", "--keep", "5"), { code: 0, out: "nothing to remove\n" });
});

t.test("who does not prove the token makes no file, whatever it sends", async (t) => {
  const folder = await shortFolder(t);
  const model = await storeWithVm(folder);
  const agent = await startAgent(t, await writeSite(folder, { peers: { b: { url: "ws://127.0.0.1:9" } } }));
  const before = snapshot(folder);
  const url = `ws://127.0.0.1:${agent.port}`;

  const wrongToken = { site: "b", token: Buffer.from("not the token of this site"), tls: null };
  await t.rejects(dial("a", { url, fingerprint: null }, wrongToken), {
    ...endsAs("refused"),
    message: /authentication failed/,
  });
  await agent.logged(/refused a connection/);

  const prepare = {
    type: "prepare",
    purpose: "handover",
    leg: "7b0f8bd4-6a4c-4f1c-9f64-0d6cf2f8d8c1",
    vm: {
      name: "evil",
      machine: "pc-i440fx-7.2",
      cpu: "qemu64",
      memoryBytes: 1 << 26,
      accelerator: "tcg",
    },
    ramBlock: "pc.ram",
    epoch: 99,
    key: "7".repeat(64),
  };
  const settle = { type: "settle", vm: "web1", epoch: 99 };
  const hello = { type: "hello", protocol: 1, site: "b", nonce: "7".repeat(64), mac: "7".repeat(64) };
  const garbage = [
    [JSON.stringify(prepare)],
    [JSON.stringify(settle)],
    [JSON.stringify(hello), JSON.stringify(prepare), JSON.stringify(settle)],
    [JSON.stringify({ ...hello, site: "../../x" })],
    ["nonsense"],
    [Buffer.alloc(1 << 20, 7)],
  ];
  for (const messages of garbage) {
    const socket = new WebSocket(url);
    socket.on("error", () => {});
    await once(socket, "message");
    for (const message of messages) socket.send(message);
    await agent.logged(/refused a connection/);
    socket.terminate();
  }
  const raw = connect(agent.port, "127.0.0.1");
  raw.on("error", () => {});
  raw.end("\u0016\u0003\u0001\u0002\u0000\u0001 not even HTTP\r\n\r\n");
  raw.resume();
  await once(raw, "close");
  const http = await fetch(`http://127.0.0.1:${agent.port}/v1/list`, { method: "POST", body: "{}" });
  t.equal(http.status, 426, "the control interface is not reached from the network");

  t.strictSame(snapshot(folder), before);
  t.match(await runProgram(["list", "--json", "--control", agent.control]), { code: 0 });
  t.equal((await model.store.list()).generations.length, 2);
});

t.test("a peer with the token that asks for nonsense is told so, and makes no file either", async (t) => {
  const folder = await shortFolder(t);
  await storeWithVm(folder);
  const peers = { b: { url: "ws://127.0.0.1:9", maySend: ["nobody"] } };
  const agent = await startAgent(t, await writeSite(folder, { peers }));
  const before = snapshot(folder);
  const identity = { site: "b", token: Buffer.from("a token for this test"), tls: null };
  const address = { url: `ws://127.0.0.1:${agent.port}`, fingerprint: null };
  const connection = await dial("a", address, identity);
  connection.send({ type: "commit", epoch: 3 });
  await t.rejects(connection.expect("running", 10_000), { message: /asks for nothing that this site knows/ });
  const other = await dial("a", address, identity);
  other.sendFrame(new Uint8Array(1000));
  await t.rejects(other.expect("running", 10_000), { message: /asks for nothing that this site knows/ });
  const third = await dial("a", address, identity);
  third.send({ type: "settle", vm: "nobody", epoch: 3 });
  t.match(await third.expect("settled", 10_000), { outcome: "refused" });
  third.close();
  t.strictSame(snapshot(folder), before);
});
