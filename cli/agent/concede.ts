/**
 * A handover in doubt is over when another site has a newer epoch than the one that was handed over: whoever took the
 * VM, it is not here any more.
 */

import type { Claimed } from "../store/overruling.ts";
import { endsDoubt } from "../store/overruling.ts";
import type { Agent } from "./agent.ts";
import { fenceNow } from "./fencing.ts";
import { endQemu, type ManagedVm } from "./managed-vm.ts";

/** Ends the doubt if the claim does. While something is done with the VM, that comes first. Throws OperationError. */
export async function concede(agent: Agent, vm: ManagedVm, by: Claimed): Promise<void> {
  // While the leg still runs its own end decides.
  if (vm.activity !== null) return;
  await vm.doing("end the doubt about", async () => {
    const record = await agent.ownership.read(vm.name);
    if (!endsDoubt(by, record)) return;
    const { generations } = await vm.store.list();
    const isKept = generations.some(({ manifest }) => manifest.generation === record.generation);
    if (vm.qemu !== null && !isKept) {
      // The agent died before its own copy was complete: what stands in QEMU may be nowhere else.
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
