/**
 * Runs the experiments of one session: the one place where a guest is booted, moved and measured. Whoever wants legs of
 * real guests with what was predicted and what then happened calls `runSession` with a session of a plan, or one that was
 * put together by hand.
 */

import { loadavg } from "node:os";
import type { ExperimentGuest } from "./guest/experiment-guest.ts";
import { runOwnSession } from "./own-session.ts";
import { type Experiment, isOwn } from "./plan.ts";
import { runQemuSession } from "./qemu-session.ts";
import type { ExperimentRecord } from "./record.ts";

const mebibyte = 2 ** 20;

/** Where a session is run. */
export interface SessionContext {
  readonly guest: ExperimentGuest;
  /** Image of the disk for PostgreSQL; called when a session needs it. */
  readonly dataDisk: () => Promise<string>;
  readonly qemuBinary: string;
  /** How long the guest may stand still. */
  readonly downtimeLimitMs: number;
  /** When a run is given up as one that does not converge. */
  readonly giveUpMs: (experiment: Experiment, diskBytes: number) => number;
  readonly tell: (text: string) => void;
  readonly onRecord: (record: ExperimentRecord) => Promise<void>;
  /** Ends it; everything that was started is ended then. */
  readonly signal: AbortSignal;
}

/** What a kind of session measures of a run. */
export type Measured = Omit<
  ExperimentRecord,
  | "format"
  | "workload"
  | "dirtyPagesPerSecond"
  | "age"
  | "link"
  | "method"
  | "awayMs"
  | "repeat"
  | "at"
  | "load"
>;

/**
 * Runs the wanted ones of a session's experiments, all of QEMU's methods or all of ours; a first leg of ours is made
 * whether it is wanted or not. Each gives a record as soon as it is done. Throws OperationError, or the signal's reason.
 */
export async function runSession(wanted: readonly Experiment[], context: SessionContext): Promise<void> {
  const [first] = wanted;
  if (first === undefined) return;
  await (isOwn(first.method) ? runOwnSession(wanted, context) : runQemuSession(wanted, context));
}

/** Measures a run: `run` does it. */
export async function recorded(
  experiment: Experiment,
  run: () => Promise<Measured>,
): Promise<ExperimentRecord> {
  const at = new Date().toISOString();
  const load = loadavg()[0] ?? 0;
  const { workload, dirtyPagesPerSecond, age, link, method, awayMs, repeat } = experiment;
  const shape = { workload, dirtyPagesPerSecond, age, link, method, awayMs, repeat };
  return { format: 1, ...shape, at, load, ...(await run()) };
}

/** The usual limit, in milliseconds: three times what sending everything once would take, and a minute. */
export function usualGiveUpMs({ memoryMiB, link }: Experiment, diskBytes: number): number {
  const bytes = memoryMiB * mebibyte + diskBytes;
  return Math.round(60_000 + (3 * 8000 * bytes) / link.bitsPerSecond);
}
