import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pino } from "pino";
import t, { type Test } from "tap";
import { Agent } from "../../cli/agent/agent.ts";
import { answerClaims, exchangeClaims, findOverruling, heardOf } from "../../cli/agent/claims.ts";
import { requireUnclaimed } from "../../cli/agent/contest.ts";
import type { ManagedVm } from "../../cli/agent/managed-vm.ts";
import type { OwnershipRecord } from "../../cli/store/ownership.ts";
import type { PeerConnection } from "../../cli/wan/connection.ts";
import type { Claim } from "../../cli/wan/messages.ts";
import { waitFor } from "../integration/wait-for.ts";
import { ModelStore } from "../store/model-store.ts";
import { endsAs } from "../store/operation-errors.ts";
import { connectionPair } from "../wan/connection-pair.ts";
import { configIn, shortFolder } from "./agent-fixture.ts";

const claim = (vm: string, state: Claim["state"], epoch: number): Claim => ({ vm, state, epoch, leg: null });

/** Site a with VMs that have no QEMU; its peer b may send only web1. */
async function site(t: Test, state: OwnershipRecord["state"], epoch: number) {
  const folder = await shortFolder(t);
  const agents: ManagedVm[] = [];
  for (const vm of ["web1", "web2"]) {
    const model = await ModelStore.create(folder, vm);
    await model.addChain(0);
    const text = `name: ${vm}\nmemory: 2MiB\nmachine: pc-i440fx-7.2\n`;
    await writeFile(join(model.store.path, "vm.yaml"), text);
  }
  const b = { url: "ws://127.0.0.1:1", fingerprint: null, maySend: ["web1"], mayReceive: [] };
  const agent = await Agent.open({ ...(await configIn(folder)), peers: { b } }, pino({ level: "silent" }));
  for (const vm of ["web1", "web2"]) {
    await agent.ownership.write({
      format: 1,
      vm,
      state,
      epoch,
      generation: 1,
      peer: state === "owned" ? "" : "c",
      refusedEpoch: 0,
    });
    agents.push(agent.require(vm));
  }
  t.teardown(() => agent.stop());
  return { agent, web1: agents[0], web2: agents[1] };
}

/** Peer b answers once with these claims; what it was told. */
async function answering(b: PeerConnection, claims: Claim[]): Promise<Claim[]> {
  const told = await b.expect("claims", 10_000);
  b.send({ type: "claimed", claims });
  return told.claims;
}

t.test("a VM that a peer has taken over is fenced; one that is not the peer's business is not", async (t) => {
  const { agent, web1 } = await site(t, "owned", 3);
  const { a, b } = await connectionPair(t);
  const told = answering(b, [claim("web1", "owned", 5), claim("web2", "owned", 9)]);
  await exchangeClaims(agent, a);
  t.strictSame(await told, [claim("web1", "owned", 3)], "nor is it told of it");
  await waitFor("fenced", async () => (await agent.ownership.read("web1")).state === "away" || null);
  await waitFor("nothing is under way", () => (web1.activity === null ? true : null));
  t.match(await agent.ownership.read("web1"), { epoch: 5, peer: "b" });
  t.match(await agent.ownership.read("web2"), { state: "owned", epoch: 3 });
  t.strictSame(
    (await web1.store.branches.list()).branches,
    [],
    "there was no QEMU and no disk: nothing is newer",
  );
});

t.test("the listening side answers about VMs that are named and permitted, and acts as well", async (t) => {
  const { agent } = await site(t, "owned", 3);
  const { a, b } = await connectionPair(t);
  // Seen from b's end of this connection the peer is a: the fixture's peer b is at a's end.
  const answer = b.expect("claimed", 10_000);
  const named = [claim("web1", "away", 4), claim("web2", "away", 9), claim("other", "owned", 9)];
  await answerClaims(agent, a, { type: "claims", claims: named });
  t.strictSame((await answer).claims, [claim("web1", "owned", 3)]);
  await waitFor("fenced", async () => (await agent.ownership.read("web1")).state === "away" || null);
  t.match(await agent.ownership.read("web1"), { epoch: 4, peer: "b" });
});

t.test("a site without the VM learns a newer epoch", async (t) => {
  const { agent } = await site(t, "away", 3);
  const { a, b } = await connectionPair(t);
  const told = answering(b, [claim("web1", "owned", 8), claim("web2", "owned", 8)]);
  await exchangeClaims(agent, a);
  await told;
  t.match(await agent.ownership.read("web1"), { state: "away", epoch: 8, peer: "b" });
  t.match(await agent.ownership.read("web2"), { state: "away", epoch: 3, peer: "c" });
});

t.test("a handover in doubt is over when another site has a newer epoch", async (t) => {
  for (const [epoch, state] of [
    [8, "away"],
    [3, "released"],
  ] as const) {
    const { agent } = await site(t, "released", 3);
    const { a, b } = await connectionPair(t);
    const told = answering(b, [claim("web1", "owned", epoch)]);
    await exchangeClaims(agent, a);
    await told;
    t.match(await agent.ownership.read("web1"), { state, epoch });
  }
});

t.test("a peer that does not answer costs its connection only", async (t) => {
  const { agent } = await site(t, "owned", 3);
  const { a, b } = await connectionPair(t);
  const exchange = exchangeClaims(agent, a);
  await b.expect("claims", 10_000);
  b.close();
  await t.rejects(exchange, /Lost the connection/);
  t.match(await agent.ownership.read("web1"), { state: "owned", epoch: 3 });
});

t.test("of several claims the newest overrules, and only those of permitted peers are heard", async (t) => {
  const { agent, web1, web2 } = await site(t, "owned", 3);
  const answers = [
    { site: "b", claims: [claim("web1", "away", 5), claim("web2", "owned", 9)], problem: "" },
    { site: "c", claims: [claim("web1", "owned", 9)], problem: "" },
  ];
  t.strictSame(heardOf(agent, web1, answers), [{ site: "b", state: "away", epoch: 5 }]);
  t.strictSame(await findOverruling(agent, web1, answers), { site: "b", state: "away", epoch: 5 });
  t.equal(await findOverruling(agent, web2, answers), null);
});

t.test("a VM does not start while a peer says that it has it", async (t) => {
  const { agent, web1 } = await site(t, "none", 0);
  const answers = [{ site: "b", claims: [claim("web1", "owned", 1)], problem: "" }];
  await t.rejects(requireUnclaimed(agent, web1, "start", answers), {
    ...endsAs("refused"),
    message: /Cannot start web1 here: b says that it has it \(epoch 1\)/,
  });
  const silent = [{ site: "b", claims: null, problem: "away" }];
  t.match(await requireUnclaimed(agent, web1, "start", silent), /b could not be asked/);
  t.equal(await requireUnclaimed(agent, web1, "start", []), null);
});
