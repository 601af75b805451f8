/**
 * Settling a handover whose end this site did not see. Only the other site knows: it has OWNED durably, or it
 * refuses durably, after which it can never take that epoch.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
import { tellPeers } from "./claims.ts";
import { concede } from "./concede.ts";
import { endQemu, type ManagedVm } from "./managed-vm.ts";
import { runAgain } from "./vm-disks.ts";

const answerTimeoutMs = 10_000;
const retryEveryMs = 2_000;

/** `away`: the peer has the VM. `taken-back`: it runs, or may be recovered, here. `unknown`: no answer. */
export type Settlement = "away" | "taken-back" | "unknown";

/** Asks the peer once, and acts on the answer. */
export async function settle(agent: Agent, vm: ManagedVm): Promise<Settlement> {
  const record = await agent.ownership.read(vm.name);
  if (record.state !== "released") return record.state === "away" ? "away" : "taken-back";
  let answer: MessageOf<"settled">;
  try {
    answer = await ask(agent, vm.name, record.peer, record.epoch);
  } catch (error) {
    agent.log.warn({ vm: vm.name, peer: record.peer, reason: messageOf(error) }, "ownership stays in doubt");
    return "unknown";
  }
  const { outcome, newest } = answer;
  agent.log.info({ vm: vm.name, peer: record.peer, epoch: record.epoch, outcome }, "settled a handover");
  if (outcome === "owned" && newest > record.epoch) {
    // The peer went on from there, or was recovered by force and has never had what was handed over.
    await concede(agent, vm, { site: record.peer, state: "owned", epoch: newest });
    const { state } = await agent.ownership.read(vm.name);
    if (state !== "owned") return state === "away" ? "away" : "unknown";
  }
  const settled = await vm.exclusively(async () => {
    const { state, epoch } = await agent.ownership.read(vm.name);
    // Another site's claim, or an operator, was quicker.
    if (state !== "released" || epoch !== record.epoch) return state === "away" ? "away" : "taken-back";
    if (outcome === "owned") {
      await agent.ownership.write({ ...record, state: "away" });
      if (vm.qemu) await endQemu(vm, vm.qemu);
      return "away";
    }
    await agent.ownership.write({ ...record, state: "owned", epoch: record.epoch + 1 });
    await letRun(agent, vm);
    return "taken-back";
  });
  // Somebody may have recovered the VM by force meanwhile, and must hear that it is here.
  if (settled === "taken-back") agent.background(`Telling who has ${vm.name}`, () => tellPeers(agent, vm));
  return settled;
}

/** Asks again and again until it is settled or the signal fires. */
export async function settleInBackground(agent: Agent, vm: ManagedVm, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (vm.activity === null && (await settle(agent, vm)) !== "unknown") return;
    await sleep(retryEveryMs, undefined, { signal }).catch(() => {});
  }
}

/** Lets a VM run that is this site's again. What hinders it, such as a full disk, may pass: then it is tried again and again. */
async function letRun(agent: Agent, vm: ManagedVm): Promise<void> {
  const { qemu } = vm;
  if (qemu === null || (await isRunning(qemu.qmp))) return;
  try {
    await runAgain(vm, qemu.qmp);
  } catch (error) {
    agent.log.error({ vm: vm.name, reason: messageOf(error) }, "The VM is here again, but cannot run on yet");
    agent.background(`Letting ${vm.name} run on`, async () => {
      await sleep(retryEveryMs, undefined, { signal: agent.ending }).catch(() => {});
      await vm.exclusively(async () => {
        const { state } = await agent.ownership.read(vm.name);
        // Another one is in its place, or it was fenced.
        if (state === "owned" && vm.qemu === qemu && !agent.ending.aborted) await letRun(agent, vm);
      });
    });
  }
}

/** The other side: answers durably. A refusal is recorded before it is told. */
export async function answerSettle(
  agent: Agent,
  connection: PeerConnection,
  message: MessageOf<"settle">,
): Promise<void> {
  const { vm: name, epoch } = message;
  const vm = agent.find(name);
  // A VM that was never defined here was never taken over either, and nothing can be on its way.
  const unknown = { type: "settled", vm: name, epoch, newest: 0, outcome: "refused" } as const;
  const decide = async (): Promise<MessageOf<"settled">> => {
    // The leg that it came with has failed meanwhile, and nothing is left of it.
    if (agent.find(name) === null) return unknown;
    const record = await agent.ownership.read(name);
    const answer = { type: "settled", vm: name, epoch, newest: record.epoch } as const;
    if (record.refusedEpoch >= epoch) return { ...answer, outcome: "refused" };
    if (record.epoch >= epoch && record.state !== "none") return { ...answer, outcome: "owned" };
    await agent.ownership.write({ ...record, refusedEpoch: epoch });
    return { ...answer, outcome: "refused" };
  };
  connection.send(vm ? await vm.exclusively(decide) : unknown);
}

async function ask(agent: Agent, vm: string, peer: string, epoch: number): Promise<MessageOf<"settled">> {
  const connection = await agent.connect(peer);
  try {
    connection.send({ type: "settle", vm, epoch });
    return await connection.expect("settled", answerTimeoutMs);
  } finally {
    connection.close();
  }
}
