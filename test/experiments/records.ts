/** Records as runs of experiments would give them. */

import type { Experiment } from "../../cli/experiments/plan.ts";
import type { ExperimentRecord } from "../../cli/experiments/record.ts";

/** A record of a run; QEMU had 8 KiB less memory than was planned. */
export function recordOf(run: Experiment, changes: Partial<ExperimentRecord> = {}): ExperimentRecord {
  const { workload, dirtyPagesPerSecond, memoryMiB, age, link, method, awayMs, repeat } = run;
  return {
    format: 1,
    ...{ workload, dirtyPagesPerSecond, age, link, method, awayMs, repeat },
    memoryBytes: memoryMiB * 2 ** 20 - 8192,
    nonZeroShare: 0.9,
    diskBytes: 0,
    at: "2026-01-02T03:04:05.678Z",
    totalMs: 1000,
    downtimeMs: 100,
    gapMs: 120,
    wireBytes: 1e6,
    converged: true,
    predicted: null,
    changedShare: null,
    qemuVersion: "7.2.0",
    load: 0.5,
    ...changes,
  };
}
