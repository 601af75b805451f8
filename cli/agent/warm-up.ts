/**
 * Touches a mapped guest's memory in the background. The next leg has to read every page, and the first touch of
 * a page in a mapped image costs a page fault each: here they are paid while nobody waits.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { QmpError } from "../qemu/qmp-messages.ts";
import type { ManagedVm } from "./managed-vm.ts";

/** Short enough that QEMU's main lock is held for a few milliseconds at a time. */
const sliceBytes = 2 << 20;
const pauseMs = 5;
const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;

/**
 * Guest-physical ranges that are RAM on every PC machine type, as [first, end). The first MiB is left out: reads
 * of the legacy video memory in it have side effects. So is what may be moved behind the PCI hole.
 */
export function ramRanges(memoryBytes: number): [number, number][] {
  const low: [number, number] = [mebibyte, Math.min(memoryBytes, 2 * gibibyte)];
  const highBytes = memoryBytes - 3.5 * gibibyte;
  return highBytes > 0 ? [low, [4 * gibibyte, 4 * gibibyte + highBytes]] : [low];
}

/** Reads all memory of the VM's QEMU once, a slice at a time. Ends early when something is asked of the VM. */
export async function warmUp(vm: ManagedVm, qmp: QmpClient): Promise<void> {
  for (const [first, end] of ramRanges(vm.definition.memoryBytes)) {
    for (let at = first; at < end; at += sliceBytes) {
      if (vm.activity !== null || qmp.isClosed) return;
      const size = Math.min(sliceBytes, end - at);
      try {
        await qmp.execute("pmemsave", { val: at, size, filename: "/dev/null" });
      } catch (error) {
        // Where QEMU may not open /dev/null (a sandbox), the next leg pays instead.
        if (error instanceof QmpError || qmp.isClosed) return;
        throw error;
      }
      await sleep(pauseMs);
    }
  }
}
