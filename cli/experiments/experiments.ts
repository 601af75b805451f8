/** Makes the runs of a plan that are not in the results yet, one session after the other. */

import { messageOf, OperationError } from "../errors.ts";
import { probeQemu } from "../qemu/probe.ts";
import { prepareDataDisk } from "./data-disk.ts";
import { estimateSessionMs } from "./estimate.ts";
import { prepareExperimentGuest } from "./guest/experiment-guest.ts";
import { experimentName, missingOf, type PlanOptions, planSessions } from "./plan.ts";
import type { ExperimentRecord } from "./record.ts";
import { ResultFile } from "./results.ts";
import { runSession, usualGiveUpMs } from "./session.ts";

/** What is run, and where its results are. */
export interface ExperimentsOptions {
  readonly plan: PlanOptions;
  readonly folder: string;
  readonly qemuBinary: string;
  readonly downtimeLimitMs: number;
  readonly signal: AbortSignal;
}

/** Where it is told what happens. */
export interface ExperimentsEvents {
  /** Before anything is started. */
  readonly plan: (runs: number, kept: number, estimateMs: number) => void;
  readonly step: (text: string) => void;
  /** `done`: how many of the runs are in the results now. */
  readonly record: (record: ExperimentRecord, done: number) => void;
  /** A session could not be finished; the others go on. */
  readonly failure: (name: string, message: string) => void;
}

/** What came of it. */
export interface ExperimentsOutcome {
  /** In the plan; in the results before; made now. */
  readonly runs: number;
  readonly kept: number;
  readonly made: number;
  /** Sessions that could not be finished. */
  readonly failures: readonly { readonly session: string; readonly message: string }[];
}

/**
 * Runs them. Throws OperationError when nothing can be run at all, or the signal's reason: what was measured by then is
 * in the results.
 */
export async function runExperiments(
  options: ExperimentsOptions,
  events: ExperimentsEvents,
): Promise<ExperimentsOutcome> {
  const { plan, folder, qemuBinary, downtimeLimitMs, signal } = options;
  const sessions = planSessions(plan);
  if (sessions.length === 0) {
    throw new OperationError(
      "usage",
      "Cannot run experiments: there are none of these workloads and methods",
    );
  }
  const results = await ResultFile.open(folder);
  const runs = sessions.reduce((sum, { experiments }) => sum + experiments.length, 0);
  const open = sessions.map((session) => missingOf(session, results.made)).filter(({ length }) => length > 0);
  const missing = open.reduce((sum, { length }) => sum + length, 0);
  const kept = runs - missing;
  events.plan(
    runs,
    kept,
    open.reduce((sum, wanted) => sum + estimateSessionMs(wanted), 0),
  );
  const failures: { session: string; message: string }[] = [];
  let made = 0;
  if (open.length === 0) return { runs, kept, made, failures };
  await probeQemu(qemuBinary);
  const guest = await prepareExperimentGuest(events.step, signal);
  const context = {
    guest,
    dataDisk: () => prepareDataDisk(guest, qemuBinary, events.step, signal),
    qemuBinary,
    downtimeLimitMs,
    giveUpMs: usualGiveUpMs,
    tell: events.step,
    onRecord: async (record: ExperimentRecord) => {
      await results.add(record);
      made++;
      events.record(record, kept + made);
    },
    signal,
  };
  for (const wanted of open) {
    signal.throwIfAborted();
    try {
      await runSession(wanted, context);
    } catch (error) {
      signal.throwIfAborted();
      const session = experimentName(wanted[0] as (typeof wanted)[0]);
      failures.push({ session, message: messageOf(error) });
      events.failure(session, messageOf(error));
    }
  }
  return { runs, kept, made, failures };
}
