/** Keeps what a fenced VM has here as a branch: memory, device state and disks, or what of it can be kept. */

import { messageOf } from "../errors.ts";
import type { BranchRecord } from "../store/branches.ts";
import type { FenceMarker } from "../store/fence-marker.ts";
import type { Agent } from "./agent.ts";
import { keepMemory } from "./branch-memory.ts";
import type { ManagedVm } from "./managed-vm.ts";

/**
 * Keeps the VM's state under the name in `marker`; the VM must stand still or be gone. Returns null if nothing here is
 * newer than the retained generations. Throws OperationError if not even the record can be written.
 */
export async function keepBranch(
  agent: Agent,
  vm: ManagedVm,
  marker: FenceMarker,
): Promise<BranchRecord | null> {
  const { branches } = vm.store;
  const done = await branches.find(marker.branch);
  if (done) return done.record;
  await branches.prepare();
  // An agent before this one may have come so far.
  let memory = (await branches.readMemory(marker.branch).catch(() => null))?.manifest ?? null;
  let problem: string | null = null;
  const hadQemu = vm.qemu !== null;
  if (memory === null && vm.qemu !== null && !vm.qemu.qmp.isClosed) {
    try {
      memory = await keepMemory(agent, vm, vm.qemu.qmp, marker);
    } catch (error) {
      problem = `memory could not be kept: ${messageOf(error)}`;
    }
  } else if (memory === null) {
    problem = "its QEMU was gone: what was in memory is lost";
  }
  const disks = memory?.disks ?? (await currentDisks(vm));
  const isNewer = memory !== null || hadQemu || (await isAnyUnnamed(vm));
  if (!isNewer || (memory === null && disks.length === 0)) {
    agent.log.warn({ vm: vm.name, problem }, "there is nothing to keep as a branch");
    return null;
  }
  const record: BranchRecord = {
    format: 1,
    name: marker.branch,
    vm: vm.name,
    epoch: marker.epoch,
    by: marker.by,
    generation: marker.generation,
    createdAt: marker.startedAt,
    memory: memory !== null,
    disks: disks.map(({ name, lengthBytes, image }) => ({ name, lengthBytes, image })),
    problem: problem?.slice(0, 4096) ?? null,
  };
  await branches.put(record);
  return record;
}

/** The images that the VM writes to, or wrote to last. One that is not recorded is left out. */
async function currentDisks({ store, definition }: ManagedVm): Promise<BranchRecord["disks"]> {
  const { images: current } = await store.images.current();
  const disks: BranchRecord["disks"] = [];
  for (const { id } of definition.disks) {
    const image = current[id];
    if (image === undefined) continue;
    disks.push({ name: id, lengthBytes: (await store.images.read(image)).lengthBytes, image });
  }
  return disks;
}

/** True if a disk's image is no part of a generation. */
async function isAnyUnnamed({ store }: ManagedVm): Promise<boolean> {
  const { images: current } = await store.images.current();
  const { generations } = await store.list();
  const named = new Set(generations.flatMap(({ manifest }) => manifest.disks.map(({ image }) => image)));
  return Object.values(current).some((id) => !named.has(id));
}
