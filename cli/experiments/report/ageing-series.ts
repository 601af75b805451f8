/** How much of a guest had changed after which time away, and the curve of the model through it. */

import { type AgeingFit, fitAgeing } from "../../../src/predict/ageing.ts";
import type { ExperimentRecord } from "../record.ts";
import { collect, type Group, type Situation, type SituationGroups } from "./groups.ts";
import { type Summary, summarise } from "./statistics.ts";

/** A curve has two parameters: through fewer ages than this it would fit whatever they are. */
export const agesForCurve = 3;

/** Returns of one guest under one workload, over all links: what it changes while away does not depend on them. */
export interface AgeingSeries {
  readonly guest: Omit<Situation, "link">;
  readonly ages: readonly {
    readonly awayMs: number;
    readonly changedShare: Summary;
    readonly runs: readonly ExperimentRecord[];
  }[];
  /** Null with too few ages. */
  readonly fit: AgeingFit | null;
}

/** The series of all guests with a return whose changed share is known and that converged. */
export function ageingSeries(situations: readonly SituationGroups[]): AgeingSeries[] {
  const returns = situations.flatMap(({ groups }) => groups.filter(({ awayMs }) => awayMs !== null));
  return collect(returns, ({ situation: { link: _link, ...guest } }) => JSON.stringify(guest)).flatMap(
    (groups) => {
      const ages = collect(groups, ({ awayMs }) => String(awayMs))
        .flatMap((same) => ageOf(same))
        .sort((a, b) => a.awayMs - b.awayMs);
      if (ages.length === 0) return [];
      const { link: _link, ...guest } = groups[0].situation;
      const samples = ages.flatMap(({ awayMs, runs }) =>
        runs.map((run) => ({ seconds: (run.awayMs ?? awayMs) / 1000, changedShare: run.changedShare ?? 0 })),
      );
      const fit = ages.length < agesForCurve ? null : fitAgeing(samples);
      return [{ guest, ages, fit }];
    },
  );
}

function ageOf(groups: readonly [Group, ...Group[]]): AgeingSeries["ages"][number][] {
  const runs = groups
    .flatMap(({ converged }) => converged)
    .filter(({ changedShare }) => changedShare !== null);
  const changedShare = summarise(runs.map((run) => run.changedShare ?? 0));
  const { awayMs } = groups[0];
  return changedShare === null || awayMs === null ? [] : [{ awayMs, changedShare, runs }];
}
