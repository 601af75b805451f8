/** Medians, quartiles and relative errors of measured figures. */

/** What is said of some figures. Of one figure all are that figure. */
export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly lowerQuartile: number;
  readonly upperQuartile: number;
}

/** Summarises figures in any order; null if there are none. */
export function summarise(values: readonly number[]): Summary | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return {
    n: sorted.length,
    median: at(sorted, 0.5),
    least: at(sorted, 0),
    most: at(sorted, 1),
    lowerQuartile: at(sorted, 0.25),
    upperQuartile: at(sorted, 0.75),
  };
}

/**
 * The quantile of figures in any order, between neighbours by a straight line (Hyndman and Fan, The American Statistician 1996, type 7).
 * Throws RangeError if there are none.
 */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) throw new RangeError("Cannot take a quantile of no figures");
  return at(
    [...values].sort((a, b) => a - b),
    share,
  );
}

/** (predicted − measured) / measured; null where what was measured is too little to compare with. */
export function relativeError(predicted: number, measured: number): number | null {
  const error = (predicted - measured) / measured;
  return Number.isFinite(error) ? error : null;
}

function at(sorted: readonly number[], share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] as number;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number;
  return low + (place - below) * (high - low);
}
