/**
 * Settling a handover whose end this site did not see. Only the other site knows: it has OWNED durably, or it
 * refuses durably, after which it can never take that epoch.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import { type Claimed, maxEpoch } from "../store/overruling.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";
import type { Agent } from "./agent.ts";
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
  let outcome: MessageOf<"settled">["outcome"];
  try {
    outcome = await ask(agent, vm.name, record.peer, record.epoch);
  } catch (error) {
    agent.log.warn({ vm: vm.name, peer: record.peer, reason: messageOf(error) }, "ownership stays in doubt");
    return "unknown";
  }
  agent.log.info({ vm: vm.name, peer: record.peer, epoch: record.epoch, outcome }, "settled a handover");
  return await vm.exclusively(async () => {
    const { state, epoch } = await agent.ownership.read(vm.name);
    // Another site's claim, or an operator, was quicker.
    if (state !== "released" || epoch !== record.epoch) return state === "away" ? "away" : "taken-back";
    if (outcome === "owned") {
      await agent.ownership.write({ ...record, state: "away" });
      if (vm.qemu) await endQemu(vm, vm.qemu);
      return "away";
    }
    await agent.ownership.write({ ...record, state: "owned", epoch: record.epoch + 1 });
    if (vm.qemu && !(await isRunning(vm.qemu.qmp))) await runAgain(vm, vm.qemu.qmp);
    return "taken-back";
  });
}

/** Asks again and again until it is settled or the signal fires. */
export async function settleInBackground(agent: Agent, vm: ManagedVm, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (vm.activity === null && (await settle(agent, vm)) !== "unknown") return;
    await sleep(retryEveryMs, undefined, { signal }).catch(() => {});
  }
}

/**
 * A handover in doubt is over when another site has a newer epoch than the one that was handed over: whoever took the
 * VM, it is not here any more. This site's own copy of what it handed over is a generation by then.
 */
export async function concede(agent: Agent, vm: ManagedVm, by: Claimed): Promise<void> {
  await vm.exclusively(async () => {
    const record = await agent.ownership.read(vm.name);
    // While the leg still runs its own end decides.
    if (vm.activity !== null || record.state !== "released") return;
    if (by.state === "none" || by.epoch <= record.epoch || by.epoch > maxEpoch) return;
    await agent.ownership.write({ ...record, state: "away", epoch: by.epoch, peer: by.site });
    agent.log.warn(
      { vm: vm.name, by: by.site, epoch: by.epoch },
      "another site has the VM: the doubt is over",
    );
    if (vm.qemu) await endQemu(vm, vm.qemu);
  });
}

/** The other side: answers durably. A refusal is recorded before it is told. */
export async function answerSettle(
  agent: Agent,
  connection: PeerConnection,
  message: MessageOf<"settle">,
): Promise<void> {
  const { vm: name, epoch } = message;
  const vm = agent.find(name);
  const decide = async (): Promise<MessageOf<"settled">["outcome"]> => {
    const record = await agent.ownership.read(name);
    if (record.refusedEpoch >= epoch) return "refused";
    if (record.epoch >= epoch && record.state !== "none") return "owned";
    await agent.ownership.write({ ...record, refusedEpoch: epoch });
    return "refused";
  };
  // A VM that was never defined here was never taken over either, and nothing can be on its way.
  const outcome = vm ? await vm.exclusively(decide) : "refused";
  connection.send({ type: "settled", vm: name, epoch, outcome });
}

async function ask(
  agent: Agent,
  vm: string,
  peer: string,
  epoch: number,
): Promise<MessageOf<"settled">["outcome"]> {
  const connection = await agent.connect(peer);
  try {
    connection.send({ type: "settle", vm, epoch });
    return (await connection.expect("settled", answerTimeoutMs)).outcome;
  } finally {
    connection.close();
  }
}
