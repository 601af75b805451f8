/** Standing migrations of the VMs that want one: which VMs, compared with what, and when they begin. */

import { OperationError } from "../errors.ts";
import { beginStanding, type StandingMigration } from "../leg/standing-migration.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { Agent } from "./agent.ts";
import { guestProcessOf, type ManagedVm, type RunningQemu } from "./managed-vm.ts";
import { ownRamBlock } from "./vm-launch.ts";

/** From now on a VM that runs here has a standing migration, if its definition says so; the first after `delayMs`. */
export function keepStanding(agent: Agent, vm: ManagedVm, delayMs = 0): void {
  const { qemu } = vm;
  if (qemu?.kind !== "process" || vm.definition.tracking !== "standing") return;
  vm.tracking.watch(
    {
      make: (signal) => make(agent, vm, qemu, signal),
      isFree: () => !vm.isOccupied && !agent.ending.aborted,
      log: (message) => agent.log.info({ vm: vm.name }, message),
    },
    delayMs,
  );
}

async function make(
  agent: Agent,
  vm: ManagedVm,
  qemu: RunningQemu,
  signal: AbortSignal,
): Promise<StandingMigration | null> {
  if (vm.qemu !== qemu || qemu.qmp.isClosed) return null;
  const { name, store, runPath, definition } = vm;
  const record = await agent.ownership.read(name);
  if (record.state !== "owned") {
    throw new OperationError("failed", `this site does not own it (${record.state})`);
  }
  if (!(await isRunning(qemu.qmp))) throw new OperationError("failed", "it is paused");
  const { generations } = await store.list();
  const newest = generations.at(-1);
  const base = generations.find(({ manifest }) => manifest.generation === record.generation) ?? newest;
  if (!base || !newest) throw new OperationError("failed", "no generation of it is retained here");
  const key = await agent.keys.readOrMake(name);
  await requireIntact(agent, vm, key, base, signal);
  if (signal.aborted) return null;
  return await beginStanding({
    qmp: qemu.qmp,
    guest: guestProcessOf(qemu),
    runPath,
    generationsPath: store.generationsPath,
    vm: name,
    memoryBytes: definition.memoryBytes,
    ramBlock: ownRamBlock,
    key,
    base,
    generation: Math.max(newest.manifest.generation, record.generation) + 1,
    warn: (message) => agent.log.warn({ vm: name }, message),
  });
}

async function requireIntact(
  agent: Agent,
  { store }: ManagedVm,
  key: Uint8Array,
  base: StoredGeneration,
  signal: AbortSignal,
): Promise<void> {
  const ledger = new IntegrityLedger(store);
  if (await ledger.isUntouched(base)) return;
  const problem = await ledger.check(agent.core, key, base, () => !signal.aborted);
  if (problem === null) return;
  const { generation } = base.manifest;
  throw new OperationError("failed", `generation ${generation} is damaged and set aside: ${problem}`);
}
