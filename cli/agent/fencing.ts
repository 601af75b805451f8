/**
 * What a site does when another one has taken its VM over: the copy here must not touch anything further, and what is
 * newer here is not thrown away.
 *
 *     stop the VM ─► end what goes on with it ─► fenced.json ─► record `away` ─► branch ─► end QEMU ─► no fenced.json
 *
 * After fenced.json an agent that starts again goes on where this one ended.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import { adoptQemu, killQemu } from "../qemu/process.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import type { BranchRecord } from "../store/branches.ts";
import {
  type FenceMarker,
  readFenceMarker,
  removeFenceMarker,
  writeFenceMarker,
} from "../store/fence-marker.ts";
import { type Claimed, endsDoubt, overrules } from "../store/overruling.ts";
import type { Agent } from "./agent.ts";
import { keepBranch } from "./branch.ts";
import { endQemu, type ManagedVm, type RunningQemu } from "./managed-vm.ts";

/** A QEMU that does not answer for so long is ended: that its copy stops counts more than its memory. */
const stopTimeoutMs = 5_000;
const pollMs = 20;

const underWay = new WeakMap<ManagedVm, Promise<boolean>>();
/** QEMUs that must not run their VM, and how to allow it again. */
const halted = new WeakMap<QmpClient, () => void>();

/** Fences a VM unless its record has changed meanwhile. Returns true if it was fenced. Throws OperationError. */
export async function fence(agent: Agent, vm: ManagedVm, by: Claimed): Promise<boolean> {
  const known = underWay.get(vm);
  if (known) return await known;
  const work = fenceWhenFree(agent, vm, by).finally(() => underWay.delete(vm));
  underWay.set(vm, work);
  return await work;
}

/** The same for a caller that does something with the VM already. Returns what is kept; null if it was not overruled. */
export async function fenceNow(
  agent: Agent,
  vm: ManagedVm,
  by: Claimed,
): Promise<{ readonly branch: BranchRecord | null } | null> {
  const { site } = agent.config;
  const record = await agent.ownership.read(vm.name);
  if (!overrules(by, record, site) && !endsDoubt(by, record)) return null;
  await halt(agent, vm);
  agent.log.error(
    { vm: vm.name, epoch: record.epoch, by: by.site, theirs: by.epoch },
    `${by.site} has taken ${vm.name} over: it is stopped here, and what is newer here is kept as a branch`,
  );
  const marker: FenceMarker = {
    format: 1,
    epoch: record.epoch,
    by: { site: by.site, epoch: by.epoch },
    generation: record.generation,
    branch: `${record.epoch}-${by.site}`,
    startedAt: new Date().toISOString(),
  };
  await writeFenceMarker(vm.store.path, marker);
  await recordAway(agent, vm, marker);
  return { branch: await complete(agent, vm, marker) };
}

/** True if a fencing of the VM has begun and is not complete. */
export async function isFencingOpen(vm: ManagedVm): Promise<boolean> {
  return (await readFenceMarker(vm.store.path)) !== null;
}

/** Goes on with a fencing that has begun; does nothing if there is none, or if the VM is busy. */
export async function finishFencing(agent: Agent, vm: ManagedVm): Promise<void> {
  if (vm.activity === null) await vm.doing("fence", () => finishFencingNow(agent, vm));
}

/** The same for a caller that does something with the VM already. */
export async function finishFencingNow(agent: Agent, vm: ManagedVm): Promise<void> {
  const marker = await readFenceMarker(vm.store.path);
  if (marker === null) return;
  const record = await agent.ownership.read(vm.name);
  if (record.state !== "away" && record.epoch > marker.by.epoch) {
    // The VM was recovered here since: the note is out of date.
    await removeFenceMarker(vm.store.path);
    return;
  }
  await halt(agent, vm);
  if (record.state !== "away") await recordAway(agent, vm, marker);
  await complete(agent, vm, marker);
}

async function fenceWhenFree(agent: Agent, vm: ManagedVm, by: Claimed): Promise<boolean> {
  const wasRunning = await vm.isRunningHere();
  await halt(agent, vm);
  while (vm.activity !== null) {
    // A leg is given up; whatever else goes on comes to its end.
    vm.activity.cancel.abort();
    await sleep(pollMs);
  }
  return await vm.doing("fence", async () => {
    if ((await fenceNow(agent, vm, by)) !== null) return true;
    // The VM has been handed over, or was recovered by force meanwhile.
    const { state } = await agent.ownership.read(vm.name);
    const qmp = vm.qemu?.qmp;
    if (qmp) halted.get(qmp)?.();
    if (qmp && state === "owned" && wasRunning) await qmp.execute("cont");
    return false;
  });
}

/** Stops the VM's QEMU for good: nothing in this agent can let it run any more. */
async function halt(agent: Agent, vm: ManagedVm): Promise<void> {
  if (vm.qemu === null) {
    // An agent that has just started may not have found it so far.
    const process = await adoptQemu(vm.runPath).catch(async (error) => {
      agent.log.error({ vm: vm.name, reason: messageOf(error) }, "its QEMU does not answer: it is ended");
      await killQemu(vm.runPath);
      return null;
    });
    if (process) vm.adopt({ kind: "process", process, qmp: process.qmp, loaded: null }, () => {});
  }
  const { qemu } = vm;
  if (qemu === null || qemu.qmp.isClosed) return;
  try {
    await keepStopped(vm.name, qemu.qmp);
  } catch (error) {
    agent.log.error({ vm: vm.name, reason: messageOf(error) }, "its QEMU does not stop: it is ended");
    await endAtOnce(qemu);
  }
}

async function keepStopped(name: string, qmp: QmpClient): Promise<void> {
  const stop = () => qmp.execute("stop", undefined, { timeoutMs: stopTimeoutMs });
  if (!halted.has(qmp)) {
    qmp.forbid("cont", `Cannot let ${name} run: another site has taken it over`);
    // QEMU itself lets a VM run again when a migration fails after it has stopped it.
    const unsubscribe = qmp.onEvent((event) => {
      if (event.name === "RESUME") stop().catch(() => {});
    });
    halted.set(qmp, () => {
      halted.delete(qmp);
      unsubscribe();
      qmp.forbid("cont", null);
    });
  }
  await stop();
}

async function endAtOnce(qemu: RunningQemu): Promise<void> {
  if (qemu.kind === "process") await qemu.process.kill();
  else qemu.qmp.close();
}

async function recordAway(agent: Agent, vm: ManagedVm, { by }: FenceMarker): Promise<void> {
  await vm.exclusively(async () => {
    const record = await agent.ownership.read(vm.name);
    await agent.ownership.write({ ...record, state: "away", epoch: by.epoch, peer: by.site });
  });
}

async function complete(agent: Agent, vm: ManagedVm, marker: FenceMarker): Promise<BranchRecord | null> {
  const branch = await keepBranch(agent, vm, marker);
  if (vm.qemu) await endQemu(vm, vm.qemu);
  await removeFenceMarker(vm.store.path);
  const kept = branch ? `kept as branch ${branch.name}` : "nothing newer was here";
  agent.log.warn(
    { vm: vm.name, branch: branch?.name ?? null, problem: branch?.problem ?? null },
    `fenced: ${kept}`,
  );
  return branch;
}
