/**
 * How the share of changed pages grows with the time since both sites held the same state:
 *
 *     p(t) = p_∞ · (1 − e^(−t/θ))
 *
 * The shape is that of VeCycle's similarity curves (Knauth and Fetzer, Middleware 2015), fitted to a VM's own legs by
 * least squares. For a given θ the best p_∞ is linear; θ itself is searched on a logarithmic scale.
 */

import { ModelError, requireWithin } from "./model-error.ts";

/** A curve. */
export interface AgeingCurve {
  /** p_∞: share that is changed after a long time. */
  readonly limit: number;
  /** θ, in seconds. */
  readonly seconds: number;
}

/** What a leg has shown. */
export interface AgeSample {
  /** Seconds since both sites held the same state. */
  readonly seconds: number;
  readonly changedShare: number;
}

/** A fitted curve, and how well it fits: the root of the mean squared residual, as a share. */
export interface AgeingFit extends AgeingCurve {
  readonly residual: number;
  readonly samples: number;
}

/** θ is sought between a tenth of the shortest age and this many times the longest one: beyond, the curve is a line. */
const longest = 30;
const gridSteps = 400;

/** p(t). Throws ModelError for a negative time. */
export function changedShareAt({ limit, seconds: theta }: AgeingCurve, seconds: number): number {
  requireWithin("an age in seconds", seconds, { min: 0 });
  return limit * growth(seconds, theta);
}

/** Fits a curve; null with less than two different ages, from which no curve follows. Throws ModelError. */
export function fitAgeing(samples: readonly AgeSample[]): AgeingFit | null {
  for (const { seconds, changedShare } of samples) {
    requireWithin("an age in seconds", seconds, { min: 0 });
    requireWithin("a changed share", changedShare, { min: 0, max: 1 });
  }
  const ages = samples.map(({ seconds }) => seconds).filter((seconds) => seconds > 0);
  if (new Set(ages).size < 2) return null;
  const from = Math.log(Math.min(...ages) / 10);
  const to = Math.log(Math.max(...ages) * longest);
  let best: AgeingFit | null = null;
  for (let step = 0; step <= gridSteps; step++) {
    const fit = fitLimit(samples, Math.exp(from + ((to - from) * step) / gridSteps));
    if (best === null || fit.residual < best.residual) best = fit;
  }
  if (best === null) throw new ModelError("Cannot fit an ageing curve: there is nothing to choose from");
  return best;
}

/** The best p_∞ for a θ, within 0 and 1. */
function fitLimit(samples: readonly AgeSample[], seconds: number): AgeingFit {
  let along = 0;
  let square = 0;
  for (const { seconds: age, changedShare } of samples) {
    const g = growth(age, seconds);
    along += g * changedShare;
    square += g * g;
  }
  const limit = square === 0 ? 0 : Math.min(1, Math.max(0, along / square));
  let squared = 0;
  for (const { seconds: age, changedShare } of samples)
    squared += (limit * growth(age, seconds) - changedShare) ** 2;
  return { limit, seconds, residual: Math.sqrt(squared / samples.length), samples: samples.length };
}

function growth(age: number, theta: number): number {
  return -Math.expm1(-age / theta);
}
