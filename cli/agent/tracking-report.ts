/** What `show` says of a VM's tracking: which mode is live, and what returning now would cost. */

import { measurableMemoryBytes, measureDirtyRate } from "../qemu/dirty-rate.ts";
import type { ManagedVm } from "./managed-vm.ts";

const mebibyte = 1 << 20;
/** A measurement is asked for when the last one is older. */
const freshMs = 30_000;

/** What returning now would cost. Bytes of guest memory unless named otherwise. */
export interface ReturnEstimate {
  /** Pages that differed already when the first pass was read, and their frames on the WAN. */
  readonly keptBytes: number;
  readonly keptWireBytes: number;
  /** What of the first pass is not read so far; nearly all of it is as the base has it, and costs only the reading. */
  readonly unreadBytes: number;
  /** How fast the guest changed its memory during one second, exact to a MiB; null if that was not measured. */
  readonly dirtyBytesPerSecond: number | null;
  readonly measuredAgeMs: number | null;
  /** Bounds of what the guest changed since the hold began; null without a measurement. */
  readonly dirtiedBytes: { readonly atLeast: number; readonly atMost: number } | null;
  /** The same on the WAN, with what was kept, at the share of the pages so far. */
  readonly wireBytes: { readonly atLeast: number; readonly atMost: number } | null;
  /** In words: what the figures stand on. */
  readonly quality: string;
}

/** Which way the next leg out of here begins. */
export interface TrackingReport {
  /** What the definition asks for. */
  readonly wanted: "standing" | "scan";
  readonly mode: "standing" | "scan";
  /** Why it scans; null while it stands. */
  readonly why: string | null;
  readonly heldMs: number | null;
  /** Generation that the memory was compared with. */
  readonly generation: number | null;
  readonly estimate: ReturnEstimate | null;
}

interface Measurement {
  readonly at: number;
  readonly bytesPerSecond: number | null;
}

/** The last measurement of each VM's hold, and whether one is under way. */
const measurements = new WeakMap<object, { last: Measurement | null; isRunning: boolean }>();

/** The report of one VM. Asks QEMU; a measurement that is due is begun and seen in the next report. */
export async function reportTracking(vm: ManagedVm): Promise<TrackingReport> {
  const wanted = vm.definition.tracking;
  const { standing } = vm.tracking;
  if (standing === null || standing.state !== "held") {
    return { wanted, mode: "scan", why: whyScan(vm), heldMs: null, generation: null, estimate: null };
  }
  const heldMs = Date.now() - (standing.heldSince ?? Date.now());
  const info = await standing.query().catch(() => null);
  return {
    wanted,
    mode: "standing",
    why: null,
    heldMs,
    generation: standing.base.manifest.generation,
    estimate: estimateReturn({
      memoryBytes: vm.definition.memoryBytes,
      kept: standing.kept,
      unreadBytes: info?.ram?.remainingBytes ?? 0,
      heldMs,
      measured: measured(vm, standing),
    }),
  };
}

/** Bounds from what is known. Exported for its test. */
export function estimateReturn(known: {
  readonly memoryBytes: number;
  readonly kept: { readonly pageBytes: number; readonly frameBytes: number };
  readonly unreadBytes: number;
  readonly heldMs: number;
  readonly measured: { readonly bytesPerSecond: number | null; readonly ageMs: number } | null;
}): ReturnEstimate {
  const { memoryBytes, kept, unreadBytes, heldMs, measured } = known;
  const common = { keptBytes: kept.pageBytes, keptWireBytes: kept.frameBytes, unreadBytes };
  const rate = measured?.bytesPerSecond ?? null;
  if (measured === null || rate === null) {
    const why =
      memoryBytes < measurableMemoryBytes
        ? "QEMU measures no memory below 128 MiB"
        : "no measurement so far: ask again in some seconds";
    return {
      ...common,
      dirtyBytesPerSecond: null,
      measuredAgeMs: null,
      dirtiedBytes: null,
      wireBytes: null,
      quality: `what was kept is exact; what the guest changed since is not known (${why})`,
    };
  }
  // The same pages may have been written again and again, or others each time.
  const atLeast = Math.min(memoryBytes, rate);
  const atMost = Math.min(memoryBytes, Math.max(atLeast, ((rate + mebibyte) * heldMs) / 1000));
  const share = kept.pageBytes > 0 ? Math.min(1, kept.frameBytes / kept.pageBytes) : 1;
  const wire = (bytes: number) => Math.round(kept.frameBytes + bytes * share);
  return {
    ...common,
    dirtyBytesPerSecond: rate,
    measuredAgeMs: measured.ageMs,
    dirtiedBytes: { atLeast, atMost: Math.round(atMost) },
    wireBytes: { atLeast: wire(atLeast), atMost: wire(atMost) },
    quality:
      "what was kept is exact; the rest is extrapolated from one second of QEMU's page samples (1 of 64 pages, whole MiB/s): " +
      "the least if the guest rewrites the same pages, the most if it always writes to others",
  };
}

function whyScan(vm: ManagedVm): string {
  const { tracking, definition, qemu } = vm;
  if (definition.tracking === "scan") return "its definition says so";
  if (qemu === null) return "it does not run here";
  if (qemu.kind === "attached") return "attached VMs are always scanned";
  if (tracking.standing !== null) {
    return tracking.standing.state === "settling" ? "the hold is being made" : "reading the first pass";
  }
  if (tracking.reason !== null) return tracking.reason;
  return tracking.isWatched ? "the first pass has not begun" : "it has not moved since it was started here";
}

function measured(vm: ManagedVm, standing: object): { bytesPerSecond: number | null; ageMs: number } | null {
  const state = measurements.get(standing) ?? { last: null, isRunning: false };
  measurements.set(standing, state);
  const ageMs = state.last === null ? Number.POSITIVE_INFINITY : Date.now() - state.last.at;
  const { qemu, definition } = vm;
  if (ageMs > freshMs && !state.isRunning && qemu && definition.memoryBytes >= measurableMemoryBytes) {
    state.isRunning = true;
    measureDirtyRate(qemu.qmp)
      // QEMU refuses while somebody else measures, and when it ends.
      .catch(() => null)
      .then((bytesPerSecond) => {
        state.last = { at: Date.now(), bytesPerSecond };
        state.isRunning = false;
      });
  }
  return state.last && { bytesPerSecond: state.last.bytesPerSecond, ageMs };
}
