/** What the performance model cannot work with. */

/** A parameter of the model has a value that no link, host or VM can have. */
export class ModelError extends Error {
  override readonly name = "ModelError";
}

/** What a parameter may be. */
export interface Bounds {
  readonly min: number;
  /** No upper bound by default; Infinity itself is allowed only where it is given here. */
  readonly max?: number;
}

/** Throws ModelError, with the name and the bounds, if a value is not within them. NaN never is. */
export function requireWithin(name: string, value: number, { min, max }: Bounds): void {
  const upper = max ?? Number.MAX_VALUE;
  if (value >= min && value <= upper) return;
  const bounds = max === undefined ? `at least ${min} and finite` : `from ${min} to ${max}`;
  throw new ModelError(`Cannot predict with ${name} ${value}: it must be ${bounds}`);
}
