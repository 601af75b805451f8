/** `results.json`: every run, and what the report says of them, for other programs. */

import type { ExperimentRecord } from "../record.ts";
import { ageingSeries } from "./ageing-series.ts";
import { flatRun } from "./flat-results.ts";
import { groupRuns } from "./groups.ts";
import type { Origin } from "./origin.ts";
import { errorsOf, groupErrors, outcomes, predictedFigures } from "./prediction-error.ts";
import { savingsOf } from "./savings.ts";

const format = 1;

/** The text of the file. Times are milliseconds, sizes bytes, rates bits a second, and shares parts of 1. */
export function resultsJson(records: readonly ExperimentRecord[], origin: Origin): string {
  const situations = groupRuns(records);
  const groups = situations.flatMap((one) => {
    const savings = savingsOf(one);
    return one.groups.map((group) => {
      const { situation, converged, diverged, ...figures } = group;
      const saving = savings.find((found) => found.group === group);
      return {
        ...situation,
        ...figures,
        converged: converged.length,
        notConverged: diverged.length,
        saved: saving === undefined ? null : { time: saving.time, bytes: saving.bytes },
        errors: errors((figure) => groupErrors(group, figure)),
      };
    });
  });
  const ageing = ageingSeries(situations).map(({ guest, ages, fit }) => ({
    ...guest,
    ages: ages.map(({ awayMs, changedShare }) => ({ awayMs, changedShare })),
    fit,
  }));
  const all = errors((figure) => errorsOf(outcomes(records, figure)));
  const content = { format, ...origin, errors: all, groups, ageing, runs: records.map(flatRun) };
  return `${JSON.stringify(content, undefined, 1)}\n`;
}

function errors(of: (figure: (typeof predictedFigures)[number]) => object | null): object {
  return Object.fromEntries(predictedFigures.map((figure) => [figure, of(figure)]));
}
