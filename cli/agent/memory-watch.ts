/**
 * Looks at a sample of each running VM's memory now and then, so that a prediction knows what a guest has written to for
 * longer than anybody would wait. It only reads, and takes some tens of milliseconds.
 */

import { setInterval as every } from "node:timers/promises";
import { GuestMemory } from "../predict/guest-memory.ts";
import { probeEfforts } from "../predict/memory-facts.ts";
import { lookAt, type MemoryLook } from "../predict/memory-look.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm, RunningQemu } from "./managed-vm.ts";

const checkMs = 2_000;
/** An older look is replaced by a new one. */
const freshMs = 30_000;

const looks = new WeakMap<RunningQemu, MemoryLook>();

/** The last look at a QEMU's memory; null if there was none. */
export function lookOf(qemu: RunningQemu): MemoryLook | null {
  return looks.get(qemu) ?? null;
}

/** Goes on until the agent ends. */
export async function watchMemory(agent: Agent): Promise<void> {
  for await (const _ of every(checkMs, null, { ref: false })) {
    if (agent.ending.aborted) return;
    for (const vm of agent.list()) {
      const { qemu } = vm;
      if (qemu?.kind !== "process" || vm.isOccupied) continue;
      const last = looks.get(qemu);
      if (last && performance.now() - last.atMs < freshMs) continue;
      // A guest that cannot be looked at is predicted from its history.
      await look(agent, vm, qemu).catch(() => {});
    }
  }
}

async function look(
  { core, keys }: Agent,
  vm: ManagedVm,
  qemu: RunningQemu & { kind: "process" },
): Promise<void> {
  const memory = await GuestMemory.open(qemu.process.pid, qemu.qmp, vm.definition.memoryBytes);
  if (memory === null) return;
  try {
    const key = await keys.read(vm.name);
    const { lookMs } = probeEfforts.quick;
    if (key) looks.set(qemu, await lookAt(core, key, memory, { budgetMs: lookMs }));
  } finally {
    memory.close();
  }
}
