/** How far off the predictions of a VM's legs were. */

import type { LegRecord } from "../store/leg-history.ts";

/** One leg, with its errors as shares of what was measured; null where nothing was predicted. */
export interface PredictedLeg {
  readonly at: string;
  readonly to: string;
  readonly kind: "first" | "return";
  readonly predictedMs: number | null;
  readonly measuredMs: number;
  readonly timeError: number | null;
  readonly predictedWireBytes: number | null;
  readonly measuredWireBytes: number;
  readonly wireError: number | null;
  /** The measured time was within the predicted interval. */
  readonly isWithin: boolean | null;
}

/** Of errors: the one in the middle, and the one that nine of ten are not above. Null of none. */
export interface ErrorSpread {
  readonly legs: number;
  readonly p50: number | null;
  readonly p90: number | null;
}

/** Legs and errors, oldest first. */
export function historyErrors(legs: readonly LegRecord[]): {
  readonly legs: readonly PredictedLeg[];
  readonly time: ErrorSpread;
  readonly wireBytes: ErrorSpread;
} {
  const rows = legs.map((leg): PredictedLeg => {
    const { at, to, kind, predicted, measured } = leg;
    const time = predicted?.totalMs ?? null;
    const wire = predicted?.wireBytes ?? null;
    return {
      at,
      to,
      kind,
      predictedMs: time?.value ?? null,
      measuredMs: measured.totalMs,
      timeError: errorOf(time?.value, measured.totalMs),
      predictedWireBytes: wire?.value ?? null,
      measuredWireBytes: measured.wireBytes,
      wireError: errorOf(wire?.value, measured.wireBytes),
      isWithin: time && measured.totalMs >= time.low && measured.totalMs <= time.high,
    };
  });
  return {
    legs: rows,
    time: spreadOf(rows.map((row) => row.timeError)),
    wireBytes: spreadOf(rows.map((row) => row.wireError)),
  };
}

function errorOf(predicted: number | undefined, measured: number): number | null {
  return predicted === undefined || measured <= 0 ? null : Math.abs(predicted - measured) / measured;
}

function spreadOf(errors: readonly (number | null)[]): ErrorSpread {
  const known = errors.filter((error) => error !== null).sort((a, b) => a - b);
  const at = (share: number) => known[Math.max(0, Math.ceil(known.length * share) - 1)] ?? null;
  return { legs: known.length, p50: at(0.5), p90: at(0.9) };
}
