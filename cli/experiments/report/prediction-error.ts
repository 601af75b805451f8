/** What was predicted beside what then happened. Runs that did not converge are counted, and are in no error. */

import type { ExperimentRecord } from "../record.ts";
import type { Group } from "./groups.ts";
import { quantile, relativeError, type Summary, summarise } from "./statistics.ts";

/** What is predicted of a leg. */
export const predictedFigures = ["totalMs", "downtimeMs", "wireBytes"] as const;
/** One of them. */
export type PredictedFigure = (typeof predictedFigures)[number];

/** An error that the project wants to stay within, as a share. */
export const wantedError = 0.15;

/** One leg: predicted and measured. */
export interface Outcome {
  readonly record: ExperimentRecord;
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly measured: number;
}

/** Errors of many legs, as shares of what was measured. */
export interface Errors {
  readonly legs: number;
  readonly predicted: Summary;
  readonly measured: Summary;
  /** Of the errors without their sign. */
  readonly median: number;
  readonly p90: number;
  /** The largest one, with its sign: above 0 too much was predicted. */
  readonly worst: number;
  /** Share of legs whose error is no larger than the wanted one. */
  readonly withinWanted: number;
  /** Share of legs whose outcome was in the interval that was told. */
  readonly withinInterval: number;
}

/** The legs with a prediction that converged. */
export function outcomes(records: readonly ExperimentRecord[], figure: PredictedFigure): Outcome[] {
  return records.flatMap((record) => {
    if (record.predicted === null || !record.converged) return [];
    return [{ record, ...record.predicted[figure], measured: record[figure] }];
  });
}

/** Errors of legs; null if there are none that can be compared. */
export function errorsOf(legs: readonly Outcome[]): Errors | null {
  const compared = legs.flatMap((leg) => {
    const error = relativeError(leg.value, leg.measured);
    return error === null ? [] : [{ leg, error }];
  });
  const predicted = summarise(compared.map(({ leg }) => leg.value));
  const measured = summarise(compared.map(({ leg }) => leg.measured));
  if (predicted === null || measured === null) return null;
  const sizes = compared.map(({ error }) => Math.abs(error));
  const share = (count: number) => count / compared.length;
  return {
    legs: compared.length,
    predicted,
    measured,
    median: quantile(sizes, 0.5),
    p90: quantile(sizes, 0.9),
    worst: compared.reduce((worst, { error }) => (Math.abs(error) > Math.abs(worst) ? error : worst), 0),
    withinWanted: share(sizes.filter((size) => size <= wantedError).length),
    withinInterval: share(
      compared.filter(({ leg }) => leg.low <= leg.measured && leg.measured <= leg.high).length,
    ),
  };
}

/** Errors of a group's legs. */
export function groupErrors({ converged }: Group, figure: PredictedFigure): Errors | null {
  return errorsOf(outcomes(converged, figure));
}
