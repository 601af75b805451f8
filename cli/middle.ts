/** Values that a few odd ones among many do not move. */

/** The value in the middle; null of nothing. */
export function middle(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  if (known.length === 0) return null;
  const sorted = known.sort((a, b) => a - b);
  const at = (sorted.length - 1) / 2;
  return (sorted[Math.floor(at)] + sorted[Math.ceil(at)]) / 2;
}

/** The value that three of four are not above; null of nothing. */
export function upper(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null && Number.isFinite(value)) as number[];
  if (known.length === 0) return null;
  return known.sort((a, b) => a - b)[Math.ceil(known.length * 0.75) - 1];
}
