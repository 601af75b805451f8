/** What benchmarks read from the system, and how they sum up. */

import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

/** Linux counts CPU time in these units, whatever the machine. */
const ticksPerSecond = 100;
const quietMs = 1500;
const quietSeconds = 0.1;

/** The machine, in a few words. */
export const machine = `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, node ${process.version}`;

/** Highest resident bytes of a process so far. */
export function peakResidentBytes(pid: number): number {
  const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}

/** CPU seconds of all threads of a process so far. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name before it may have spaces. utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Waits until processes have nothing to do any more. */
export async function untilQuiet(pids: readonly number[]): Promise<void> {
  const total = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  for (let last = total(); ; ) {
    await sleep(quietMs);
    const now = total();
    if (now - last < quietSeconds) return;
    last = now;
  }
}

/** The middle value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** A ratio for people. */
export function percent(ratio: number): string {
  return `${(100 * ratio).toFixed(2)} %`;
}

/** MiB for people. */
export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)} MiB`;
}
