/**
 * A guest that changes what it changes faster than the link carries it: recognised, and told with numbers.
 *
 * Each pass sends what was found when it began, and finds what was changed meanwhile. Where the guest is slower than the
 * link that becomes less and less. Where it does not, over several passes, waiting does not help.
 */

import { formatRate, formatTime } from "../config/units.ts";
import { lastDataMs } from "./switchover.ts";

/** What is done about it. */
export const divergencePolicies = ["wait", "throttle", "stop"] as const;
/** One of them: go on until the timeout, slow the guest down, or give the leg up. */
export type DivergencePolicy = (typeof divergencePolicies)[number];

/** A line that tells it, once a leg. */
export interface DivergenceEvent {
  readonly event: "divergence";
  readonly vm: string;
  readonly what: "memory" | "disks";
  /** Encoded bytes a second that the guest changes, each page or block once a pass. */
  readonly dirtyBytesPerSecond: number;
  /** Bytes a second that the link carries. */
  readonly linkBytesPerSecond: number;
  readonly downtimeLimitMs: number;
  /** A downtime limit with which it would converge as it is. */
  readonly neededDowntimeLimitMs: number;
  /** A rate of the link with which it would, if the guest changes no more than now. */
  readonly neededBitsPerSecond: number;
  readonly policy: DivergencePolicy;
  readonly message: string;
}

/** One pass or round, encoded. */
interface Pass {
  readonly bytes: number;
  readonly elapsedMs: number;
}

/** So many passes, one after the other, none of them clearly shorter than the first. */
const judgedPasses = 4;
const shrinking = 0.95;
/** A figure that is recommended has some room. */
const margin = 1.25;

/** What the judgement needs beside the passes. */
export interface LinkFigures {
  readonly bytesPerSecond: number;
  /** How long the data of the switchover may take. */
  readonly budgetMs: number;
}

/** How badly it diverges. */
export interface DivergenceFigures {
  readonly dirtyBytesPerSecond: number;
  readonly linkBytesPerSecond: number;
  readonly neededDowntimeLimitMs: number;
  readonly neededBitsPerSecond: number;
}

/** Follows the passes of RAM, or the rounds of disks. */
export class DivergenceWatch {
  private readonly passes: Pass[] = [];

  /** A pass found so many bytes, encoded, that were changed in so many milliseconds. */
  observe(bytes: number, elapsedMs: number): void {
    this.passes.push({ bytes, elapsedMs: Math.max(1, elapsedMs) });
    if (this.passes.length > judgedPasses) this.passes.shift();
  }

  /** Begins anew: something has changed that the passes so far do not show. */
  forget(): void {
    this.passes.length = 0;
  }

  /** The figures if it diverges; null if it does not, or if that cannot be said so far. */
  judge({ bytesPerSecond, budgetMs }: LinkFigures): DivergenceFigures | null {
    const [first, ...later] = this.passes;
    if (first === undefined || later.length < judgedPasses - 1) return null;
    const least = Math.min(...later.map(({ bytes }) => bytes));
    if (lastDataMs(least, bytesPerSecond) <= budgetMs || least < shrinking * first.bytes) return null;
    const dirtyBytesPerSecond = Math.max(...later.map((pass) => (pass.bytes / pass.elapsedMs) * 1000));
    const typical = later.reduce((sum, { bytes }) => sum + bytes, 0) / later.length;
    const neededMs = margin * lastDataMs(typical, bytesPerSecond);
    return {
      dirtyBytesPerSecond: Math.round(dirtyBytesPerSecond),
      linkBytesPerSecond: Math.round(bytesPerSecond),
      neededDowntimeLimitMs: roundUp(neededMs),
      neededBitsPerSecond: roundUp((8 * bytesPerSecond * neededMs) / budgetMs),
    };
  }
}

/** The event, with a message for people. `cap`: the leg's own limit of its rate, which then is what to change. */
export function divergenceEvent(
  about: Pick<DivergenceEvent, "vm" | "what" | "downtimeLimitMs" | "policy"> & {
    readonly cap: number | null;
  },
  figures: DivergenceFigures,
): DivergenceEvent {
  const { vm, what, downtimeLimitMs, policy, cap } = about;
  const { dirtyBytesPerSecond, linkBytesPerSecond, neededDowntimeLimitMs, neededBitsPerSecond } = figures;
  const faster =
    cap === null
      ? `over a link of ${formatRate(neededBitsPerSecond)}`
      : `with --bandwidth ${writtenRate(neededBitsPerSecond)}`;
  const message =
    `${vm} changes its ${what} as fast as the link carries it: ${megabytes(dirtyBytesPerSecond)} changed, ` +
    `${megabytes(linkBytesPerSecond)} carried; at a downtime limit of ${formatTime(downtimeLimitMs)} ` +
    `the leg will not converge; it would with --downtime-limit ${writtenTime(neededDowntimeLimitMs)}, or ${faster}`;
  return { event: "divergence", vm, what, ...figures, downtimeLimitMs, policy, message };
}

function megabytes(bytesPerSecond: number): string {
  return `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
}

/** As the option takes it. */
function writtenTime(ms: number): string {
  return ms < 10_000 ? `${ms}ms` : `${Math.ceil(ms / 1000)}s`;
}

function writtenRate(bitsPerSecond: number): string {
  return bitsPerSecond < 1e6
    ? `${Math.ceil(bitsPerSecond / 1e3)}k`
    : `${Math.ceil(bitsPerSecond / 1e5) / 10}M`;
}

/** Up to two digits. */
function roundUp(value: number): number {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, value))) - 1);
  return Math.ceil(value / unit) * unit;
}
