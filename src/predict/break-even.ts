/** From which changed share on a return leg saves less than asked for, and what a restart from a snapshot takes. */

import { type LegModel, predictLeg } from "./leg.ts";
import { requireWithin } from "./model-error.ts";

/** Halvings of the range 0 to 1: a millionth. */
const steps = 20;

/**
 * Share of changed pages at which a leg takes as long as `otherSeconds`; below it, it is quicker. 0 if it never is, 1 if
 * it always is. Of a share the model knows only that more of it never makes a leg quicker. Throws ModelError.
 */
export function breakEvenShare(leg: LegModel, otherSeconds: number): number {
  requireWithin("a time in seconds", otherSeconds, { min: 0, max: Number.POSITIVE_INFINITY });
  const isQuicker = (changedPageShare: number) =>
    predictLeg({ ...leg, load: { ...leg.load, changedPageShare } }).totalSeconds < otherSeconds;
  if (!isQuicker(0)) return 0;
  if (isQuicker(1)) return 1;
  let low = 0;
  let high = 1;
  for (let step = 0; step < steps; step++) {
    const middle = (low + high) / 2;
    if (isQuicker(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/**
 * Seconds until a VM runs again from a snapshot: F, then its working set is read as it is touched, W / S_r. Throws
 * ModelError.
 */
export function restartSeconds({ load, speeds }: Pick<LegModel, "load" | "speeds">): {
  readonly untilItRuns: number;
  readonly untilItIsWarm: number;
} {
  requireWithin("a working set in bytes", load.workingSetBytes, { min: 0 });
  requireWithin("a read rate in bytes a second", speeds.readBytesPerSecond, {
    min: 1,
    max: Number.POSITIVE_INFINITY,
  });
  const untilItRuns = speeds.fixedSeconds;
  return { untilItRuns, untilItIsWarm: untilItRuns + load.workingSetBytes / speeds.readBytesPerSecond };
}
