/**
 * Axes with logarithmic scales. A plot gets logarithms to base 10 as its values, and ticks of our own choice: 1, 2 and 5 in each decade
 * where there are few, every decade or fewer where there are many.
 */

/** The ends of an axis and its ticks, as logarithms. */
export interface LogScale {
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly number[];
}

const steps: readonly (readonly number[])[] = [[1, 2, 5], [1, 3], [1]];

/** A scale that has all of the values, which are above 0. Throws RangeError without any. */
export function logScale(values: readonly number[], maxTicks: number): LogScale {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  if (logs.length === 0) throw new RangeError("Cannot make a logarithmic scale without a value above 0");
  const low = Math.min(...logs);
  const high = Math.max(...logs);
  for (const within of steps) {
    const ticks = around(candidates(within, low, high), low, high);
    if (ticks.length <= maxTicks) return scaleOf(ticks);
  }
  const decades = Math.ceil(high) - Math.floor(low);
  const stride = Math.ceil(decades / (maxTicks - 1));
  const count = Math.ceil(decades / stride) + 1;
  return scaleOf(Array.from({ length: count }, (_, i) => Math.floor(low) + i * stride));
}

function scaleOf(ticks: readonly number[]): LogScale {
  return { from: ticks[0] as number, to: ticks.at(-1) as number, ticks };
}

/** All steps in the decades around. */
function candidates(within: readonly number[], low: number, high: number): number[] {
  const found: number[] = [];
  for (let decade = Math.floor(low) - 1; decade <= Math.ceil(high) + 1; decade++) {
    found.push(...within.map((step) => decade + Math.log10(step)));
  }
  return found;
}

/** Those from the last one at or below the lowest to the first one at or above the highest, two at least. */
function around(sorted: readonly number[], low: number, high: number): number[] {
  const slack = 1e-9;
  const first = sorted.findLastIndex((tick) => tick <= low + slack);
  const last = sorted.findIndex((tick) => tick >= high - slack);
  return sorted.slice(first, Math.max(last, first + 1) + 1);
}
