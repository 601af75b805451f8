/** What processes cost while something is done: CPU time of ones that come and go, memory beside a guest's. */

import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuSeconds, peakResidentBytes } from "./measure.ts";

const pollMs = 50;
const idleMs = 700;
const idleTimes = 2;

/** CPU seconds that a process needs each second when nobody wants anything of it: the least of some short times. */
export async function idleCpuShare(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < idleTimes; i++) {
    const before = cpuSeconds(pid);
    const startMs = performance.now();
    await sleep(idleMs);
    least = Math.min(least, (cpuSeconds(pid) - before) / ((performance.now() - startMs) / 1000));
  }
  return least;
}

/** CPU time of a process that may end before one wants to know it: it is read again and again. */
export class CpuWatch {
  private last: number;
  private readonly first: number;
  private readonly timer: NodeJS.Timeout;
  private readonly pid: number;

  constructor(pid: number) {
    this.pid = pid;
    this.first = cpuSeconds(pid);
    this.last = this.first;
    this.timer = setInterval(() => this.look(), pollMs);
  }

  /** CPU seconds since it was made; of a process that has ended up to about 50 ms before its end. */
  end(): number {
    clearInterval(this.timer);
    this.look();
    return this.last - this.first;
  }

  private look(): void {
    try {
      this.last = cpuSeconds(this.pid);
    } catch {
      // It is gone; what was read last counts.
      clearInterval(this.timer);
    }
  }
}

/** Lets the peak of a process's resident memory begin anew. Does nothing where the system does not allow it. */
export function resetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // Then the peak is that since the process began: more, never less.
  }
}

/**
 * Peak resident bytes of a QEMU beside its guest's memory, which is its largest mapping by what is resident. Null
 * where the system does not tell.
 */
export function peakBesideGuest(pid: number): number | null {
  try {
    return Math.max(0, peakResidentBytes(pid) - largestMapping(readFileSync(`/proc/${pid}/smaps`, "utf8")));
  } catch {
    return null;
  }
}

/** Resident bytes of the largest mapping in the text of /proc/PID/smaps. */
export function largestMapping(smaps: string): number {
  let largest = 0;
  for (const [, kibibytes] of smaps.matchAll(/^Rss:\s+(\d+) kB$/gm))
    largest = Math.max(largest, Number(kibibytes));
  return largest * 1024;
}
