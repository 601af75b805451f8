/**
 * What one run of an experiment gave. `DIR/results.jsonl` has one of these a line; a run that is there is not made again.
 * Times are milliseconds, sizes bytes, rates bits a second.
 */

import { z } from "zod";

/** What the guest does while it moves. */
export const workloads = ["idle", "redis", "web", "compile", "postgres", "dirtier"] as const;
/** How it is moved. */
export const methods = [
  "precopy",
  "xbzrle",
  "multifd-zstd",
  "bfmig-first",
  "bfmig-return",
  "bfmig-standing",
] as const;

const amount = z.number().nonnegative();
const range = z.strictObject({ value: amount, low: amount, high: amount });

export const recordSchema = z.strictObject({
  format: z.literal(1),
  workload: z.enum(workloads),
  /** Of the dirtier: pages of 4 KiB that it writes to a second; null for others. */
  dirtyPagesPerSecond: amount.nullable(),
  memoryBytes: amount,
  /** Freshly booted, or with its page cache warmed until most of its memory is not zero. */
  age: z.enum(["fresh", "aged"]),
  /** Share of its pages that were not zero when it first moved. */
  nonZeroShare: z.number().min(0).max(1),
  /** Its virtual disk; 0 if it has none that moves. With a disk, QEMU's own methods mirror it (drive-mirror) as they move. */
  diskBytes: amount,
  link: z.strictObject({ bitsPerSecond: amount, rttMs: amount }),
  method: z.enum(methods),
  /** Of a way back: how long the guest was away before it; null for others. */
  awayMs: amount.nullable(),
  /** Counted from 1. */
  repeat: z.number().int().min(1),
  /** When it began, ISO 8601. */
  at: z.iso.datetime(),
  /** From the command until the VM runs at the other site. */
  totalMs: amount,
  /** From the source's STOP to the destination's RESUME. */
  downtimeMs: amount,
  /** The longest time between two heartbeats of the guest, as its console shows; null if it was not measured. */
  gapMs: amount.nullable(),
  /** Bytes of TCP, both directions. */
  wireBytes: amount,
  /** False if it was given up because it did not converge: then the times are those until it was given up. */
  converged: z.boolean(),
  /** Of legs of ours: what was predicted before the first byte; null if nothing was. */
  predicted: z.strictObject({ totalMs: range, downtimeMs: range, wireBytes: range }).nullable(),
  /** Of returns: share of memory in pages that differed from what both sites had; null for others. */
  changedShare: z.number().min(0).max(1).nullable(),
  qemuVersion: z.string(),
  /** Of the machine when the run began: load over one minute. */
  load: amount,
});

/** One run. */
export type ExperimentRecord = z.infer<typeof recordSchema>;
