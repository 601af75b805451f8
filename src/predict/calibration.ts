/**
 * From what predictions were worth so far to what the next one is worth. The logarithms of measured / predicted are taken
 * for normal with unknown mean and variance (Gelman et al., Bayesian Data Analysis, section 3.3): a prior that stands for a
 * few legs with an error of about 50 % keeps the interval wide until there is a history, and the interval is that of the
 * next leg, not of the mean.
 */

import { requireWithin } from "./model-error.ts";

/** A prediction and what came of it, in any unit. */
export interface Outcome {
  readonly predicted: number;
  readonly measured: number;
}

/** Factors by which a prediction is multiplied. */
export interface Calibration {
  /** What measured values were of predicted ones, in the middle. */
  readonly bias: number;
  /** Four of five outcomes are expected between these. */
  readonly low: number;
  readonly high: number;
  readonly outcomes: number;
}

/** A predicted value with its interval. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The prior counts like so many legs, for the mean and for the variance. */
const priorMeanLegs = 1;
const priorVarianceLegs = 3;
const priorDeviation = Math.log(1.5);
/** The 90 % quantile of the normal distribution: one of ten below, one of ten above. */
const normalQuantile = 1.2815515655446004;

/** Learns from outcomes; those that are not above zero and finite say nothing and are left out. */
export function calibrate(outcomes: readonly Outcome[]): Calibration {
  const logs = outcomes
    .map(({ predicted, measured }) => Math.log(measured / predicted))
    .filter((log) => Number.isFinite(log));
  const count = logs.length;
  const sum = logs.reduce((total, log) => total + log, 0);
  const mean = sum / (count + priorMeanLegs);
  // The prior's mean is 0: how far the legs' own mean is from it adds to the spread.
  const squares = logs.reduce((total, log) => total + (log - mean) ** 2, 0) + priorMeanLegs * mean ** 2;
  const freedom = priorVarianceLegs + count;
  const variance = (priorVarianceLegs * priorDeviation ** 2 + squares) / freedom;
  const reach = studentQuantile(freedom) * Math.sqrt(variance * (1 + 1 / (count + priorMeanLegs)));
  return {
    bias: Math.exp(mean),
    low: Math.exp(mean - reach),
    high: Math.exp(mean + reach),
    outcomes: count,
  };
}

/** A prediction as the history says that it is to be read. Throws ModelError if it is negative or NaN. */
export function applyCalibration(value: number, { bias, low, high }: Calibration): Estimate {
  requireWithin("a value", value, { min: 0, max: Number.POSITIVE_INFINITY });
  return { value: value * bias, low: value * low, high: value * high };
}

/** The 90 % quantile of Student's t (Abramowitz and Stegun, 26.7.5), for three degrees of freedom and more. */
export function studentQuantile(freedom: number): number {
  const x = normalQuantile;
  const g1 = (x ** 3 + x) / 4;
  const g2 = (5 * x ** 5 + 16 * x ** 3 + 3 * x) / 96;
  const g3 = (3 * x ** 7 + 19 * x ** 5 + 17 * x ** 3 - 15 * x) / 384;
  return x + g1 / freedom + g2 / freedom ** 2 + g3 / freedom ** 3;
}
