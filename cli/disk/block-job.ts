/** Block jobs of QEMU: started, watched to their end, dismissed. */

import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { QmpError, type QmpObject } from "../qemu/qmp-messages.ts";

const pollMs = 20;

interface JobInfo {
  readonly id: string;
  readonly status: string;
  readonly error?: string;
}

/**
 * Runs a job to its end. `isWanted` is asked now and then: once it says no the job is cancelled. Returns true if it
 * did its work, also when that was quicker than the cancelling, false if it was cancelled. Throws OperationError if it failed.
 */
export async function runBlockJob(
  qmp: QmpClient,
  id: string,
  command: string,
  options: QmpObject,
  isWanted: () => boolean = () => true,
): Promise<boolean> {
  await qmp.execute(command, { "job-id": id, ...options });
  let cancelled = false;
  for (;;) {
    const job = (await qmp.execute<JobInfo[]>("query-jobs")).find((one) => one.id === id);
    if (job === undefined)
      throw new OperationError("failed", `Cannot follow QEMU's job ${command}: it is gone`);
    if (job.status === "concluded") {
      await qmp.execute("job-dismiss", { id });
      if (job.error !== undefined && !cancelled) {
        throw new OperationError("failed", `QEMU's job ${command} failed: ${job.error}`);
      }
      return job.error === undefined;
    }
    if (!cancelled && !isWanted()) {
      cancelled = true;
      await qmp.execute("job-cancel", { id }).catch(ignoreRefusal);
    }
    await sleep(pollMs);
  }
}

/** Ends the jobs whose names begin so, and forgets them: who had started them is gone, and they keep their images busy. */
export async function endLeftJobs(qmp: QmpClient, prefix: string): Promise<void> {
  for (;;) {
    const jobs = await qmp.execute<JobInfo[]>("query-jobs");
    const left = jobs.filter(({ id }) => id.startsWith(prefix));
    if (left.length === 0) return;
    for (const { id, status } of left) {
      await qmp.execute(status === "concluded" ? "job-dismiss" : "job-cancel", { id }).catch(ignoreRefusal);
    }
    await sleep(pollMs);
  }
}

/** A job that has ended since it was asked for cannot be cancelled; it must be dismissed all the same. */
function ignoreRefusal(error: unknown): void {
  if (!(error instanceof QmpError)) throw error;
}
