/**
 * A handover in doubt is over when another site has a newer epoch than the one that was handed over: whoever took the
 * VM, it is not here any more.
 */

import type { Claimed } from "../store/overruling.ts";
import { endsDoubt } from "../store/overruling.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import type { Agent } from "./agent.ts";
import { fenceNow } from "./fencing.ts";
import { endQemu, type ManagedVm } from "./managed-vm.ts";

/**
 * True if what stands in the VM's QEMU after a handover may be nowhere else: the agent died before its own copy of it was
 * complete.
 */
export async function holdsNewest(vm: ManagedVm, record: OwnershipRecord): Promise<boolean> {
  if (vm.qemu === null) return false;
  const { generations } = await vm.store.list();
  return !generations.some(({ manifest }) => manifest.generation === record.generation);
}

/** Ends the doubt if the claim does. While something is done with the VM, that comes first. Throws OperationError. */
export async function concede(agent: Agent, vm: ManagedVm, by: Claimed): Promise<void> {
  // While the leg still runs its own end decides.
  if (vm.activity !== null) return;
  await vm.doing("end the doubt about", async () => {
    const record = await agent.ownership.read(vm.name);
    if (!endsDoubt(by, record)) return;
    if (await holdsNewest(vm, record)) {
      await fenceNow(agent, vm, by);
      return;
    }
    await vm.exclusively(async () => {
      const now = await agent.ownership.read(vm.name);
      if (endsDoubt(by, now))
        await agent.ownership.write({ ...now, state: "away", epoch: by.epoch, peer: by.site });
    });
    agent.log.warn(
      { vm: vm.name, by: by.site, epoch: by.epoch },
      "another site has the VM: the doubt is over",
    );
    if (vm.qemu) await endQemu(vm, vm.qemu);
  });
}
