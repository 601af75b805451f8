/** A running agent with TLS: what peers are permitted, and what its log never has. */

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import { dial, type Identity } from "../../cli/wan/handshake.ts";
import { type Message, maxLinkTimeoutMs } from "../../cli/wan/messages.ts";
import { shortFolder } from "../agent/agent-fixture.ts";
import { ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { makeIdentity } from "../wan/identities.ts";
import { jsonLines, type RunningAgent, runProgram, startAgent } from "./program.ts";

const token = "the-token-of-both-sites-4711";
const digestKey = "5e".repeat(32);

/** Site a with TLS and a token, and site b's identity, which a has pinned. */
async function siteA(t: Test, maySend: string[], mayReceive: string[]) {
  const folder = await shortFolder(t);
  const b = await makeIdentity("b", token);
  const init = await runProgram([
    "init",
    "--site",
    "a",
    "--listen",
    "127.0.0.1:0",
    "--dir",
    folder,
    "--json",
  ]);
  const [{ fingerprint, config }] = jsonLines(init) as { fingerprint: string; config: string }[];
  writeFileSync(join(folder, "token"), `${token}\n`, { mode: 0o600 });
  const peer = { url: "wss://127.0.0.1:9", fingerprint: b.tls?.fingerprint, maySend, mayReceive };
  const text = readFileSync(config, "utf8").replace("peers: {}", `peers: {b: ${JSON.stringify(peer)}}`);
  writeFileSync(config, `${text}token: {file: token}\n`);
  const start = () => startAgent(t, config);
  const dialAs = (agent: RunningAgent, identity: Identity): Promise<PeerConnection> =>
    dial("a", { url: `wss://127.0.0.1:${agent.port}`, fingerprint }, identity);
  return { folder, b, start, dialAs };
}

function prepare(name: string): Message {
  return {
    type: "prepare",
    purpose: "handover",
    leg: "7b0f8bd4-6a4c-4f1c-9f64-0d6cf2f8d8c1",
    vm: {
      name,
      machine: "pc-i440fx-7.2",
      cpu: "qemu64",
      memoryBytes: 1 << 26,
      accelerator: "tcg",
      disks: [],
    },
    ramBlock: "pc.ram",
    epoch: 99,
    key: digestKey,
    linkTimeoutMs: maxLinkTimeoutMs,
    streams: 1,
  };
}

t.test("a peer may send only what maySend has, is told no more than that, and leaves nothing", async (t) => {
  const { b, start, dialAs } = await siteA(t, ["web*"], []);
  const agent = await start();
  const requests: [Message, string][] = [
    [prepare("db1"), "peers.b.maySend: [db1]"],
    [
      { type: "resume", leg: "7b0f8bd4-6a4c-4f1c-9f64-0d6cf2f8d8c1", vm: "db1", messages: 0 },
      "peers.b.maySend",
    ],
    [{ type: "join", leg: "7b0f8bd4-6a4c-4f1c-9f64-0d6cf2f8d8c1", vm: "db1", stream: 1 }, "peers.b.maySend"],
    [{ type: "settle", vm: "db1", epoch: 3 }, "peers.b.maySend or peers.b.mayReceive: [db1]"],
  ];
  for (const [request, missing] of requests) {
    const connection = await dialAs(agent, b);
    connection.send(request);
    await t.rejects(
      connection.expect("offer", 10_000),
      { ...endsAs("refused"), message: /ended it: not permitted$/ },
      request.type,
    );
    const line = JSON.parse(await agent.logged(/not permitted/));
    t.match(line, { peer: "b", vm: "db1", missing }, request.type);
  }
  const list = await runProgram(["list", "--json", "--control", agent.control]);
  t.match(jsonLines(list), [{ event: "done", vms: [] }]);

  const stray = await dialAs(agent, b);
  stray.send({ type: "join", leg: "7b0f8bd4-6a4c-4f1c-9f64-0d6cf2f8d8c1", vm: "web1", stream: 1 });
  await t.rejects(
    stray.expect("joined", 10_000),
    { ...endsAs("refused"), message: /Cannot join a leg of web1: it is not under way here/ },
    "a leg that is not there",
  );
  const permitted = await dialAs(agent, b);
  permitted.send({ type: "settle", vm: "web1", epoch: 3 });
  t.match(await permitted.expect("settled", 10_000), { outcome: "refused" });
});

t.test(
  "a VM leaves only for a peer that may receive it, and the operator is told what to write",
  async (t) => {
    const { folder, start } = await siteA(t, ["*"], ["db*"]);
    const model = await ModelStore.create(folder);
    writeFileSync(join(model.store.path, "vm.yaml"), "name: web1\nmemory: 64MiB\nmachine: pc-i440fx-7.2\n");
    const agent = await start();
    const end = await runProgram(["migrate", "web1", "--to", "b", "--json", "--control", agent.control]);
    t.equal(end.code, 6);
    t.match(jsonLines(end).at(-1), {
      event: "error",
      reason: "refused",
      message: /Cannot migrate web1 to b: .* add web1 to peers\.b\.mayReceive/,
    });
  },
);

t.test("no secret is ever in the agent's log, whatever goes wrong", async (t) => {
  const { folder, b, start, dialAs } = await siteA(t, ["web*"], []);
  const agent = await start();
  let log = "";
  agent.child.stderr?.on("data", (text) => {
    log += text;
  });
  const stranger = await makeIdentity("b", token);
  await t.rejects(dialAs(agent, stranger), /authentication failed/);
  await t.rejects(
    dialAs(agent, { ...b, token: Buffer.from("another token of that length") }),
    /authentication failed/,
  );
  await t.rejects(dialAs(agent, { ...b, site: "c" }), /authentication failed/);
  const sent: string[] = [];
  for (const message of [prepare("db1"), prepare("web1"), { ...prepare("web1"), epoch: -1 } as Message]) {
    const connection = await dialAs(agent, b);
    sent.push(JSON.stringify(message));
    connection.send(message);
    await t.rejects(connection.expect("running", 10_000));
  }
  agent.child.kill("SIGTERM");
  const { out } = await agent.end;
  t.match(log, /it has another token/);
  t.match(log, /is of no peer/);
  t.match(log, /not permitted/);
  const key = readFileSync(join(folder, "site.key"), "utf8").split("\n")[1];
  const secrets = [
    token,
    "another token of that length",
    digestKey,
    key,
    createHash("sha256").update(token).digest("hex"),
  ];
  for (const secret of secrets) t.notOk(`${log}${out}`.includes(secret), "a secret is in the log");
  t.notMatch(log, /"(mac|nonce|token|key)"/);
});
