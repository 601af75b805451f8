/** Records of legs for tests. */

import type { VmLeg } from "../../cli/predict/learned.ts";

/** A return leg of 100 MB of memory over 100 Mbit/s and 40 ms, with what is to be different. */
export function legOf(part: Partial<VmLeg> = {}): VmLeg {
  return {
    vm: "web1",
    format: 1,
    at: "2026-05-01T10:00:00.000Z",
    to: "b",
    kind: "return",
    predicted: null,
    modelled: null,
    measured: {
      totalMs: 1000,
      downtimeMs: 160,
      wireBytes: 5_065_000,
      rounds: 2,
      negotiatedMs: 100,
      firstPassMs: 500,
      roundsMs: 100,
    },
    tracking: "scan",
    memoryBytes: 100e6,
    filledBytes: 80e6,
    changedBytes: 8e6,
    pageWireBytes: 5e6,
    disks: 0,
    changedDiskBytes: 0,
    diskWireBytes: 0,
    deviceWireBytes: 0,
    ageSeconds: 3600,
    bytesPerSecond: 12.5e6,
    rttMs: 40,
    givenBytesPerSecond: null,
    limitBytesPerSecond: null,
    initialBytes: 1e6,
    predictionMs: null,
    encodeBytesPerSecond: 100e6,
    learnedLegs: 10,
    ...part,
  };
}
