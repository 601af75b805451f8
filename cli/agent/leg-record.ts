/** Keeps what a leg took, and what was predicted of it, for the predictions of later ones. */

import type { LegResult } from "../leg/source-context.ts";
import { initialBytesOf } from "../predict/learned.ts";
import type { LegEstimate } from "../predict/leg-estimate.ts";
import { LegHistory, type LegRecord } from "../store/leg-history.ts";
import type { ManagedVm } from "./managed-vm.ts";
import type { PlannedLeg, PredictionReport } from "./prediction.ts";

/** The figures of a prediction that a leg tells and keeps; null where nothing was predicted. */
export function estimateOf(report: PredictionReport | null): LegEstimate | null {
  if (report === null) return null;
  const { totalMs, downtimeMs, wireBytes } = report.prediction;
  return { totalMs, downtimeMs, wireBytes };
}

/** Adds a leg that has come to its end to the VM's history. Throws OperationError if the disk refuses. */
export async function recordLeg(
  vm: ManagedVm,
  planned: PlannedLeg,
  report: PredictionReport | null,
  result: LegResult,
): Promise<void> {
  const { measured } = result;
  const endedAt = Date.now();
  const beganAt = endedAt - result.totalMs;
  const limit = planned.bitsPerSecond === null ? null : planned.bitsPerSecond / 8;
  // What a leg reached under a limit of its own says nothing of the link.
  const bytesPerSecond = measured.bytesPerSecond;
  const record: LegRecord = {
    format: 1,
    at: new Date(beganAt).toISOString(),
    to: planned.to,
    kind: result.leg,
    predicted: estimateOf(report),
    modelled: report?.prediction.modelled ?? null,
    measured: {
      totalMs: result.totalMs,
      downtimeMs: result.downtimeMs,
      wireBytes: result.wireBytes,
      rounds: result.rounds,
      negotiatedMs: measured.negotiatedMs,
      firstPassMs: measured.firstPassMs,
      roundsMs: measured.roundsMs,
    },
    tracking: result.tracking,
    memoryBytes: vm.definition.memoryBytes,
    filledBytes: report ? Math.round(report.memory.filledBytes) : null,
    changedBytes: result.changedBytes,
    pageWireBytes: measured.pageWireBytes,
    disks: vm.definition.disks.length,
    changedDiskBytes: result.diskBytes,
    diskWireBytes: result.diskWireBytes,
    deviceWireBytes: measured.deviceWireBytes,
    ageSeconds: measured.commonSince === null ? null : Math.max(0, (beganAt - measured.commonSince) / 1000),
    bytesPerSecond,
    rttMs: roundTripOf(report, measured.rttMs),
    givenBytesPerSecond: report?.link.givenBytesPerSecond ?? null,
    limitBytesPerSecond: limit,
    initialBytes: initialBytesOf(measured.start, bytesPerSecond, measured.rttMs),
    predictionMs: report?.tookMs ?? null,
    encodeBytesPerSecond: report?.memory.encodeBytesPerSecond ?? null,
    learnedLegs: report?.learnedLegs ?? 0,
  };
  await new LegHistory(vm.store.path).add(record);
}

/** What was remembered or assumed before the leg would be taken for measured by the next one: then its frames tell. */
function roundTripOf(report: PredictionReport | null, measuredMs: number | null): number | null {
  return report?.link.isRttOfNow ? report.link.link.rttSeconds * 1000 : measuredMs;
}
