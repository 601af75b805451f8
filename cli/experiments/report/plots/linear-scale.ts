/** Axes from 0 with steps of 1, 2 or 5 in some decade. */

/** The end of an axis that begins at 0, and its ticks. Throws RangeError if `most` is not above 0. */
export function linearScale(
  most: number,
  maxTicks: number,
): { readonly from: 0; readonly to: number; readonly ticks: readonly number[] } {
  if (!(most > 0)) throw new RangeError(`Cannot make a scale up to ${most}: it is not above 0`);
  const least = most / (maxTicks - 1);
  const decade = 10 ** Math.floor(Math.log10(least));
  const step = ([1, 2, 5, 10].find((times) => times * decade >= least * (1 - 1e-9)) ?? 10) * decade;
  const count = Math.ceil(most / step - 1e-9);
  return { from: 0, to: count * step, ticks: Array.from({ length: count + 1 }, (_, i) => i * step) };
}
