/** How long runs will take, roughly: what is printed before they begin. */

import { type Experiment, isReturn, type Method } from "./plan.ts";

const mebibyte = 2 ** 20;
/** Of a guest's boot and its workload's start, and of reading files until its memory is full, under TCG. */
const bootMs = 20_000;
const ageingMsPerMiB = 40;
/** Start of processes, and what is looked at before and after a run. */
const aroundRunMs = 4_000;
/** Share of the memory that is not zero. */
const filled = { fresh: 0.35, aged: 0.95 } as const;
/** Bytes on the wire for each of those, where the guest changes little. */
const wireShare: Readonly<Record<Method, number>> = {
  precopy: 1.05,
  xbzrle: 1.05,
  "multifd-zstd": 0.4,
  "bfmig-first": 0.4,
  "bfmig-return": 0.03,
  "bfmig-standing": 0.03,
};
/** What rounds add where it changes much: many runs of QEMU's go on until they are given up. */
const busyFactor = 2;
/** What this machine handles at best, whatever the link. */
const localBytesPerSecond = 60e6;

/** Milliseconds for the runs of one session that are still to be made. */
export function estimateSessionMs(runs: readonly Experiment[]): number {
  const [first] = runs;
  if (first === undefined) return 0;
  const ageing = first.age === "aged" ? first.memoryMiB * ageingMsPerMiB : 0;
  const firstLeg = isReturn(first.method) ? [{ ...first, method: "bfmig-first", awayMs: null } as const] : [];
  return [...firstLeg, ...runs].reduce((sum, run) => sum + runMs(run), bootMs + ageing);
}

function runMs({ workload, memoryMiB, age, link, method, awayMs }: Experiment): number {
  const factor = workload === "idle" || workload === "web" || isReturn(method) ? 1 : busyFactor;
  const bytes = memoryMiB * mebibyte * filled[age] * wireShare[method] * factor;
  const sending = (1000 * bytes) / Math.min(link.bitsPerSecond / 8, localBytesPerSecond);
  return aroundRunMs + (awayMs ?? 0) + sending + 10 * link.rttMs;
}
