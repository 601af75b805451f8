/** Restarting a VM from what is retained here. */

import { setTimeout as sleep } from "node:timers/promises";
import { killBlockHost } from "../disk/block-host.ts";
import { OperationError } from "../errors.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { Agent } from "./agent.ts";
import { endQemu, type ManagedVm } from "./managed-vm.ts";
import { overlaysOnGeneration, recordRecovered, runAgain } from "./vm-disks.ts";
import { launchFromGeneration } from "./vm-launch.ts";
import { warmUp } from "./warm-up.ts";

const warmUpDelayMs = 500;

/** What was restarted. */
export interface Recovery {
  readonly generation: number;
  /** Age of the state that runs now: work done since is not in it. */
  readonly ageMs: number;
  readonly epoch: number;
  /** True if a VM that was stopped here in a handover simply went on. */
  readonly resumed: boolean;
}

/**
 * Restarts a VM from a generation, the newest by default. Throws OperationError "refused" when another site has,
 * or may have, the VM and `force` is not given.
 */
export async function recover(
  agent: Agent,
  name: string,
  number: number | null,
  force: boolean,
): Promise<Recovery> {
  const vm = agent.require(name);
  return await vm.doing("recover", async () => {
    const record = await agent.ownership.read(name);
    const { generations, unusable } = await vm.store.list();
    const generation =
      number === null ? generations.at(-1) : generations.find((one) => one.manifest.generation === number);
    if (await vm.isRunningHere()) throw new OperationError("failed", `Cannot recover ${name}: it runs here`);
    if (record.state !== "owned" && !force) throw refusal(name, record, generation ?? null);
    const epoch = record.state === "owned" ? record.epoch : record.epoch + 2;
    const own = async () => {
      const current = await agent.ownership.read(name);
      const from = generation?.manifest.generation ?? current.generation;
      await agent.ownership.write({ ...current, state: "owned", epoch, generation: from });
    };
    if (vm.qemu && !vm.qemu.qmp.isClosed && number === null && record.state === "released") {
      // The VM itself is still here, stopped in the handover: newer than any generation.
      await vm.exclusively(own);
      await runAgain(vm, vm.qemu.qmp);
      return { generation: record.generation, ageMs: 0, epoch, resumed: true };
    }
    if (!generation) {
      const which = number === null ? "no generation" : `no generation ${number}`;
      const [broken] = unusable;
      throw new OperationError(
        "failed",
        `Cannot recover ${name}: ${which} is retained here${broken ? `; ${broken.directory} is not usable: ${broken.reason}` : ""}`,
      );
    }
    const ageMs = Date.now() - Date.parse(generation.manifest.createdAt);
    await requireIntact(agent, vm, generation);
    if (vm.qemu) await endQemu(vm, vm.qemu);
    await restart(agent, vm, generation, own);
    return { generation: generation.manifest.generation, ageMs, epoch, resumed: false };
  });
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
  const overlays = await overlaysOnGeneration(agent.config.qemu.binary, vm, generation.manifest);
  const process = await launchFromGeneration(agent.config, vm, generation, overlays);
  try {
    await recordRecovered(vm, overlays);
    await vm.exclusively(own);
    await process.qmp.execute("cont");
  } catch (error) {
    await process.kill();
    throw error;
  }
  vm.adopt({ kind: "process", process, qmp: process.qmp }, () =>
    agent.log.warn({ vm: vm.name }, "its QEMU has ended"),
  );
  agent.background("Warming up memory", async () => {
    // After the command that recovers has ended: any activity of the VM ends the warming.
    await sleep(warmUpDelayMs);
    await warmUp(vm, process.qmp);
  });
}

function refusal(
  name: string,
  record: { readonly state: string; readonly peer: string },
  generation: StoredGeneration | null,
): OperationError {
  const owner = record.peer || "another site";
  const why = record.state === "released" ? `its handover to ${owner} is in doubt` : `${owner} has it`;
  let loss = "";
  if (generation) {
    const ageMs = Date.now() - Date.parse(generation.manifest.createdAt);
    const minutes = Math.max(1, Math.round(ageMs / 60_000));
    loss = `; the ${minutes} min since generation ${generation.manifest.generation} are lost then`;
  }
  return new OperationError(
    "refused",
    `Cannot recover ${name} here: ${why}. If that site is lost for good, fence it (make sure that it can never run ` +
      `${name} again) and use --force${loss}`,
  );
}
