/** What is measured of one migration, by whatever method, and how several runs of it sum up. */

import { median } from "./measure.ts";

/** One migration. */
export interface Measured {
  /** From the command to the destination's RESUME event, by this machine's clock. */
  readonly totalMs: number;
  /** From the source's STOP event to the destination's RESUME event, by the same clock. */
  readonly downtimeMs: number;
  /** What the source itself tells as its downtime: bfmig, or QEMU, which leaves out what is still under way. */
  readonly reportedDowntimeMs: number;
  /** Payload of TCP over the link, both directions: TLS and WebSocket are in it, headers of TCP are not. */
  readonly wireBytes: number;
  /**
   * CPU time of both agents, from the command until they have nothing to do any more: what is written after the VM runs
   * elsewhere is in it. 0 where there are none.
   */
  readonly agentCpuSeconds: number;
  /** CPU time of both QEMUs for the migration, without what the guest needs when nobody moves it. */
  readonly qemuCpuSeconds: number;
  /** Peak of both agents' resident memory, from the same time. 0 where there are none. */
  readonly agentMemoryBytes: number;
  /** Resident memory of both QEMUs beside the guest's; null where the system does not tell. */
  readonly qemuMemoryBytes: number | null;
  readonly rounds: number;
  /** How a leg of ours says that it found what had changed; null where it does not say. */
  readonly tracking: string | null;
}

/** What a cell's file holds. */
export interface CellResult {
  readonly runs: readonly Measured[];
  readonly machine: string;
  /** Processes that wanted to run when the cell began, as the last minute's mean. */
  readonly load: number;
  readonly atTime: string;
}

/** The run with the middle total time. */
export function middleRun(runs: readonly Measured[]): Measured {
  const middle = median(runs.map(({ totalMs }) => totalMs));
  const found = runs.find(({ totalMs }) => totalMs === middle);
  if (found === undefined) throw new RangeError("Cannot sum up no runs");
  return found;
}

/** CPU seconds of all that takes part. */
export function cpuOf({ agentCpuSeconds, qemuCpuSeconds }: Measured): number {
  return agentCpuSeconds + qemuCpuSeconds;
}

/** Memory of all that takes part beside the guest's; null where it is not known. */
export function memoryOf({ agentMemoryBytes, qemuMemoryBytes }: Measured): number | null {
  return qemuMemoryBytes === null ? null : agentMemoryBytes + qemuMemoryBytes;
}
