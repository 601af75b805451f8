/** Restarting a VM from what is retained here. */

import { setTimeout as sleep } from "node:timers/promises";
import { killBlockHost } from "../disk/block-host.ts";
import { OperationError } from "../errors.ts";
import type { StoredBranch } from "../store/branches.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import { isRestartable, newestRestartable } from "../store/restartable.ts";
import type { Agent } from "./agent.ts";
import { askPeers, heardOf, tellPeers } from "./claims.ts";
import { requireUncontested, unaskedWarning } from "./contest.ts";
import { finishFencingNow } from "./fencing.ts";
import { endQemu, loadedState, type ManagedVm } from "./managed-vm.ts";
import { ageOf, type Hearsay, lossOf, refusal } from "./recover-words.ts";
import { keepStanding } from "./standing.ts";
import { overlaysOnGeneration, recordRecovered, runAgain } from "./vm-disks.ts";
import { launchFresh, launchFromGeneration } from "./vm-launch.ts";
import { warmUp } from "./warm-up.ts";

const warmUpDelayMs = 500;

/** What an operator asks for. */
export interface RecoverRequest {
  /** Number of the generation; null: the newest, or the branch. */
  readonly generation: number | null;
  /** Name of a branch to restart from instead of a generation. */
  readonly branch: string | null;
  /** Although another site has, or may have, the VM. */
  readonly force: boolean;
}

/** What was restarted. */
export interface Recovery {
  readonly generation: number;
  readonly branch: string | null;
  /** Age of the state that runs now: work done since is not in it. */
  readonly ageMs: number;
  readonly epoch: number;
  /** True if a VM that was stopped here in a handover simply went on. */
  readonly resumed: boolean;
  /** True if only the disks were there: the VM has started with empty memory. */
  readonly disksOnly: boolean;
  /** What this has cost, and what is to be done now; null if it was not forced. */
  readonly loss: string | null;
  readonly warning: string | null;
}

/**
 * Restarts a VM from a generation, the newest by default, or from a branch. Throws OperationError "refused" when another
 * site has, or may have, the VM and `force` is not given.
 */
export async function recover(agent: Agent, name: string, request: RecoverRequest): Promise<Recovery> {
  const vm = agent.require(name);
  // Its source may be gone for good, and nobody waits for its link then.
  if (request.force) await vm.endArrivingCopy();
  const recovery = await vm.doing("recover", () => recoverNow(agent, vm, request));
  if (recovery.loss !== null) {
    agent.log.warn({ vm: name, epoch: recovery.epoch, loss: recovery.loss }, "recovered by force");
    agent.background(`Telling who has ${name}`, () => tellPeers(agent, vm));
  }
  return recovery;
}

async function recoverNow(agent: Agent, vm: ManagedVm, request: RecoverRequest): Promise<Recovery> {
  const { name } = vm;
  const { force } = request;
  if (await vm.isRunningHere()) throw new OperationError("failed", `Cannot recover ${name}: it runs here`);
  await finishFencingNow(agent, vm);
  const answers = await askPeers(agent, vm);
  await requireUncontested(agent, vm, "recover", answers);
  const record = await agent.ownership.read(name);
  const chosen = await choose(vm, request);
  const isForced = record.state !== "owned";
  const hearsay: Hearsay = { record, answers, heard: heardOf(agent, vm, answers) };
  if (isForced && !force) throw refusal(vm, hearsay, chosen);
  // Above all that any site is known to have: whoever has the VM must stop when it hears of this one.
  const newest = Math.max(record.epoch, ...hearsay.heard.map(({ epoch }) => epoch));
  const epoch = isForced ? newest + 2 : record.epoch;
  const own = async (generation: number) => {
    const current = await agent.ownership.read(name);
    if (current.state === "owned" && current.epoch === epoch && current.generation === generation) return;
    await agent.ownership.write({ ...current, state: "owned", epoch, generation });
  };
  const loss = isForced ? lossOf(vm, hearsay, chosen) : null;
  const common = { epoch, loss, warning: isForced ? null : unaskedWarning(answers), branch: request.branch };
  const isDefault = request.generation === null && request.branch === null;
  if (vm.qemu && !vm.qemu.qmp.isClosed && isDefault && record.state === "released") {
    // The VM itself is still here, stopped in the handover: newer than any generation.
    await vm.exclusively(() => own(record.generation));
    await runAgain(vm, vm.qemu.qmp);
    const { generation } = record;
    return { ...common, generation, ageMs: 0, resumed: true, disksOnly: false };
  }
  const { state, branch, missing } = chosen;
  if (state === null && branch !== null && branch.record.disks.length > 0) {
    if (vm.qemu) await endQemu(vm, vm.qemu);
    await startFromDisks(agent, vm, branch, own);
    const { generation } = branch.record;
    return { ...common, generation, ageMs: ageOf(branch.record.createdAt), resumed: false, disksOnly: true };
  }
  if (state === null) throw new OperationError("failed", `Cannot recover ${name}: ${missing}`);
  await requireIntact(agent, vm, state);
  if (vm.qemu) await endQemu(vm, vm.qemu);
  const { generation, createdAt } = state.manifest;
  await restart(agent, vm, state, () => own(generation));
  return { ...common, generation, ageMs: ageOf(createdAt), resumed: false, disksOnly: false };
}

/** What is to be restarted. */
interface Chosen {
  readonly branch: StoredBranch | null;
  /** With memory; null if there is none. */
  readonly state: StoredGeneration | null;
  /** Why there is none. */
  readonly missing: string;
}

async function choose(vm: ManagedVm, { generation: number, branch: name }: RecoverRequest): Promise<Chosen> {
  if (name !== null) {
    const { branches } = await vm.store.branches.list();
    const branch = branches.find(({ record }) => record.name === name) ?? null;
    const known = branches.map(({ record }) => record.name).join(", ") || "none";
    return {
      branch,
      state: branch?.memory ?? null,
      missing: `no branch ${name} is here; branches: ${known}`,
    };
  }
  const { generations, unusable } = await vm.store.list();
  const newest = newestRestartable(generations);
  const state = number === null ? newest : generations.find(({ manifest }) => manifest.generation === number);
  if (state && !isRestartable(state)) {
    const other = newest
      ? `the newest that can be is generation ${newest.manifest.generation}: leave --generation out to restart it`
      : "there is none here that can be; 'bfmig sync --checkpoint' makes one where the VM runs";
    throw new OperationError(
      "usage",
      `Cannot recover ${vm.name} from generation ${number}: it is a seed, which legs build on and which cannot be restarted; ${other}`,
    );
  }
  const which = number === null ? "no generation" : `no generation ${number}`;
  const onlySeeds =
    generations.length > 0 && number === null ? " that can be restarted (only seeds are here)" : "";
  const [broken] = unusable;
  const missing = `${which}${onlySeeds} is retained here${broken ? `; ${broken.directory} is not usable: ${broken.reason}` : ""}`;
  return { branch: null, state: state ?? null, missing };
}

async function requireIntact(agent: Agent, vm: ManagedVm, generation: StoredGeneration): Promise<void> {
  const key = await agent.keys.read(vm.name);
  if (key === null)
    throw new OperationError(
      "failed",
      `Cannot recover ${vm.name}: its digest key is not in ${agent.config.keys}`,
    );
  const problem = await new IntegrityLedger(vm.store).ensure(agent.core, key, generation);
  if (problem === null) return;
  throw new OperationError(
    "failed",
    `Cannot recover ${vm.name} from generation ${generation.manifest.generation}: ${problem}; it was set aside, ` +
      "'bfmig generations' lists what is left",
  );
}

async function restart(
  agent: Agent,
  vm: ManagedVm,
  generation: StoredGeneration,
  own: () => Promise<void>,
): Promise<void> {
  await killBlockHost(vm.runPath);
  const overlays = await overlaysOnGeneration(agent.config, vm, generation.manifest);
  const process = await launchFromGeneration(agent.core, agent.config, vm, generation, overlays);
  try {
    await recordRecovered(vm, overlays);
    await vm.exclusively(own);
    await process.qmp.execute("cont");
  } catch (error) {
    await process.kill();
    throw error;
  }
  const loaded = loadedState(agent, vm, generation);
  vm.adopt({ kind: "process", process, qmp: process.qmp, loaded }, () =>
    agent.log.warn({ vm: vm.name }, "its QEMU has ended"),
  );
  agent.background("Warming up memory", async () => {
    // After the command that recovers has ended: any activity of the VM ends the warming.
    await sleep(warmUpDelayMs);
    await warmUp(vm, process.qmp);
    if (vm.qemu?.kind === "process" && vm.qemu.process === process) keepStanding(agent, vm);
  });
}

/** Only a branch's disks are here: the VM starts afresh with them. */
async function startFromDisks(
  agent: Agent,
  vm: ManagedVm,
  branch: StoredBranch,
  own: (generation: number) => Promise<void>,
): Promise<void> {
  const { images } = vm.store;
  const { record } = branch;
  const next = Object.fromEntries(record.disks.map(({ name, image }) => [name, image]));
  const isWrittenOn = (await Promise.all(Object.values(next).map((id) => images.read(id)))).some(
    ({ digests }) => digests === null,
  );
  await killBlockHost(vm.runPath);
  await recordRecovered(vm, next);
  await vm.exclusively(() => own(record.generation));
  const process = await launchFresh(agent.config, vm);
  vm.adopt({ kind: "process", process, qmp: process.qmp, loaded: null }, () =>
    agent.log.warn({ vm: vm.name }, "its QEMU has ended"),
  );
  // The VM writes to these very images: they are no state of their own any more.
  if (isWrittenOn) await vm.store.branches.remove(record.name);
}
