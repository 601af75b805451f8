/** Starting, stopping, attaching and finding again of VMs at this site. */

import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { killBlockHost } from "../disk/block-host.ts";
import { endLeftMerges } from "../disk/merge.ts";
import { messageOf, OperationError } from "../errors.ts";
import { removeLegRemains } from "../leg/leg-remains.ts";
import { endLeftMigration } from "../qemu/outgoing-migration.ts";
import { adoptQemu, killQemu, type QemuProcess } from "../qemu/process.ts";
import { isRunning, QmpClient } from "../qemu/qmp-client.ts";
import { writeFileAtomically } from "../store/atomic-file.ts";
import type { Agent } from "./agent.ts";
import { askPeers, findOverruling, type PeerAnswer } from "./claims.ts";
import { requireUnclaimed, unaskedWarning } from "./contest.ts";
import { fence, finishFencing, isFencingOpen } from "./fencing.ts";
import { recognizeDisks } from "./frozen-disks.ts";
import { endQemu, type ManagedVm } from "./managed-vm.ts";
import { settleInBackground } from "./settle.ts";
import { keepStanding } from "./standing.ts";
import { adoptDisks, runAgain } from "./vm-disks.ts";
import { launchFresh, lostWriteWarning, ownRamBlock } from "./vm-launch.ts";

const attachTimeoutMs = 5_000;
/** An agent that starts has other things to do first. */
const startDelayMs = 30_000;

/** Starts a VM with empty memory. Throws OperationError "refused" if another site may have it. */
export async function startVm(agent: Agent, name: string): Promise<{ warning: string | null }> {
  const vm = agent.require(name);
  return await vm.doing("start", async () => {
    if (vm.qemu) {
      await ownForStart(agent, vm);
      throw new OperationError("failed", `Cannot start ${name}: it runs already`);
    }
    const silent = await requireUnclaimed(agent, vm, "start");
    await ownForStart(agent, vm);
    const process = await launchFresh(agent.config, vm);
    adopt(agent, vm, process);
    return { warning: joined(silent, await lostWriteWarning(process.qmp, vm.definition)) };
  });
}

/** Shuts a VM down: asks the guest, or with `force` ends QEMU at once. */
export async function stopVm(agent: Agent, name: string, force: boolean, timeoutMs: number): Promise<void> {
  const vm = agent.require(name);
  await vm.doing("stop", async () => {
    const qemu = vm.requireQemu();
    if (!force) {
      await qemu.qmp.execute("system_powerdown");
      const ended = Promise.race([qemu.qmp.closed.then(() => true), sleep(timeoutMs, false)]);
      if (!(await ended)) {
        throw new OperationError(
          "failed",
          `Cannot stop ${name}: the guest did not shut down within ${timeoutMs} ms; use --force`,
        );
      }
    }
    await endQemu(vm, qemu);
    await rm(attachedPath(vm), { force: true });
  });
}

/** Takes over a VM whose QEMU somebody else started. */
export async function attachVm(
  agent: Agent,
  name: string,
  qmpPath: string,
): Promise<{ warning: string | null }> {
  const vm = agent.require(name);
  return await vm.doing("attach", async () => {
    if (vm.qemu) throw new OperationError("failed", `Cannot attach ${name}: it runs here already`);
    const silent = await requireUnclaimed(agent, vm, "attach");
    const qmp = await connectQmp(qmpPath);
    try {
      await checkAttached(vm, qmp);
      await recognizeDisks(vm, qmp);
      await adoptDisks(vm, qmp);
      await ownForStart(agent, vm);
      await mkdir(vm.runPath, { recursive: true, mode: 0o700 });
      await writeFileAtomically(attachedPath(vm), `${JSON.stringify({ qmpPath })}\n`);
    } catch (error) {
      qmp.close();
      throw error;
    }
    vm.adopt({ kind: "attached", qmpPath, qmp }, () => agent.log.warn({ vm: name }, "its QEMU is gone"));
    return { warning: joined(silent, await lostWriteWarning(qmp, vm.definition)) };
  });
}

/** After a start of the agent: finds the VMs that still run and settles what was left open. */
export async function findAgain(agent: Agent): Promise<void> {
  let answers: Promise<PeerAnswer[]> | null = null;
  // Once for all VMs, and only if one needs it.
  const ask = () => {
    answers ??= askPeers(agent);
    return answers;
  };
  for (const vm of agent.list()) {
    try {
      await findOne(agent, vm, ask);
    } catch (error) {
      agent.log.error({ vm: vm.name, reason: messageOf(error) }, "cannot find out how the VM is");
    }
  }
}

async function findOne(agent: Agent, vm: ManagedVm, ask: () => Promise<PeerAnswer[]>): Promise<void> {
  await killBlockHost(vm.runPath);
  if (await isFencingOpen(vm)) {
    // What the QEMU has may be nowhere else.
    await findQemu(agent, vm);
    agent.background(`Fencing ${vm.name}`, () => finishFencing(agent, vm));
    return;
  }
  const record = await agent.ownership.read(vm.name);
  if (record.state === "none" || record.state === "away") {
    // A QEMU that waited for a leg, or whose VM was handed over: it must not run here.
    if (await killQemu(vm.runPath)) agent.log.info({ vm: vm.name }, "ended a QEMU that does not own its VM");
    return;
  }
  await findQemu(agent, vm);
  if (record.state === "released") {
    agent.background(`Settling ${vm.name}`, () => settleInBackground(agent, vm, agent.ending));
  } else if (vm.qemu && !(await isRunning(vm.qemu.qmp))) {
    const answers = await ask();
    const by = await findOverruling(agent, vm, answers);
    if (by) {
      agent.background(`Fencing ${vm.name}`, async () => {
        await fence(agent, vm, by);
      });
      return;
    }
    const silent = unaskedWarning(answers);
    if (silent) agent.log.warn({ vm: vm.name }, silent);
    // Stopped by a handover that never came to RELEASED, or taken over but not yet let run.
    await endLeftMigration(vm.qemu.qmp);
    await runAgain(vm, vm.qemu.qmp);
    agent.log.info({ vm: vm.name }, "let a VM run on that an unfinished handover had stopped");
  }
  if (record.state === "owned" && vm.qemu) await removeLegRemains(vm.qemu.qmp, vm.runPath);
  // A standing migration of the agent before has failed with it; the VM has moved only if it has a generation.
  if (record.state === "owned" && record.generation > 0) keepStanding(agent, vm, startDelayMs);
}

/** Finds the QEMU of an agent before this one, if it still runs. */
async function findQemu(agent: Agent, vm: ManagedVm): Promise<void> {
  const process = await adoptQemu(vm.runPath);
  if (process) adopt(agent, vm, process);
  else await attachAgain(agent, vm);
  if (vm.qemu === null) return;
  await endLeftMerges(vm.qemu.qmp);
  await recognizeDisks(vm, vm.qemu.qmp);
}

function adopt(agent: Agent, vm: ManagedVm, process: QemuProcess): void {
  vm.adopt({ kind: "process", process, qmp: process.qmp, loaded: null }, () =>
    agent.log.warn({ vm: vm.name }, "its QEMU has ended"),
  );
}

async function attachAgain(agent: Agent, vm: ManagedVm): Promise<void> {
  const text = await readFile(attachedPath(vm), "utf8").catch(() => null);
  if (text === null) return;
  const { qmpPath } = JSON.parse(text) as { qmpPath: string };
  const qmp = await connectQmp(qmpPath);
  vm.adopt({ kind: "attached", qmpPath, qmp }, () => agent.log.warn({ vm: vm.name }, "its QEMU is gone"));
}

async function connectQmp(path: string): Promise<QmpClient> {
  try {
    return await QmpClient.connect(path, { timeoutMs: attachTimeoutMs });
  } catch (error) {
    throw new OperationError("failed", `Cannot attach to QMP at ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The QEMU must be the machine that the definition describes: another site will start one from it. */
async function checkAttached(vm: ManagedVm, qmp: QmpClient): Promise<void> {
  const { name, definition } = vm;
  const machine = await qmp.execute<string>("qom-get", { path: "/machine", property: "type" });
  if (machine !== `${definition.machine}-machine`) {
    throw new OperationError(
      "failed",
      `Cannot attach ${name}: its machine is ${machine}, the definition says ${definition.machine}`,
    );
  }
  const memory = await qmp.execute<{ "base-memory": number }>("query-memory-size-summary");
  if (memory["base-memory"] !== definition.memoryBytes) {
    throw new OperationError(
      "failed",
      `Cannot attach ${name}: it has ${memory["base-memory"]} bytes of memory, the definition says ${definition.memoryBytes}`,
    );
  }
  const backends = await qmp.execute<{ id?: string }[]>("query-memdev");
  if (!backends.some(({ id }) => id === ownRamBlock)) {
    throw new OperationError(
      "failed",
      `Cannot attach ${name}: its memory backend is not named ${ownRamBlock}`,
    );
  }
}

/** A VM may start here if no other site has, or may have, it. */
async function ownForStart(agent: Agent, vm: ManagedVm): Promise<void> {
  await vm.exclusively(async () => {
    const record = await agent.ownership.read(vm.name);
    if (record.state === "owned") return;
    if (record.state !== "none" || record.refusedEpoch > 0) {
      const where =
        record.state === "released"
          ? `ownership is in doubt with ${record.peer}`
          : `${record.peer || "another site"} has it`;
      throw new OperationError(
        "refused",
        `Cannot start ${vm.name} here: ${where}; 'bfmig recover' restarts a retained generation`,
      );
    }
    await agent.ownership.write({ ...record, state: "owned", epoch: 1 });
  });
}

function joined(...warnings: readonly (string | null)[]): string | null {
  return warnings.filter((text) => text !== null).join("; ") || null;
}

function attachedPath(vm: ManagedVm): string {
  return join(vm.runPath, "attached.json");
}
