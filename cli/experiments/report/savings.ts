/** What a method saves against QEMU's own in the same situation. */

import type { ExperimentRecord } from "../record.ts";
import type { Group, SituationGroups } from "./groups.ts";
import type { Summary } from "./statistics.ts";

/**
 * One figure beside that of a baseline, as shares saved: 1 is all of it, 0 nothing; below 0 the method takes more. `least` is the worst
 * pair of runs (our most, their least), `most` the best one.
 */
export interface Saving {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  readonly baseline: ExperimentRecord["method"];
  /** Runs of the baseline that did not converge, and are in none of the figures. */
  readonly baselineDiverged: number;
}

/** What a group saves. Null where one of the two has no run that converged, or there is nothing to compare with. */
export interface GroupSavings {
  readonly group: Group;
  readonly time: { readonly plain: Saving | null; readonly best: Saving | null };
  readonly bytes: { readonly plain: Saving | null; readonly best: Saving | null };
}

type Figure = "totalMs" | "wireBytes";

const nativeMethods: readonly ExperimentRecord["method"][] = ["precopy", "xbzrle", "multifd-zstd"];

/** Whether a method is QEMU's own. */
function isNative(method: ExperimentRecord["method"]): boolean {
  return nativeMethods.includes(method);
}

/** Savings of every method but plain pre-copy. The best native variant is the one with the least median of that figure. */
export function savingsOf({ groups }: SituationGroups): GroupSavings[] {
  const natives = groups.filter(({ method }) => isNative(method));
  const plain = natives.find(({ method }) => method === "precopy");
  const against = (group: Group, figure: Figure) => ({
    plain: saving(group, plain, figure),
    best: isNative(group.method) ? null : saving(group, best(natives, figure), figure),
  });
  return groups
    .filter((group) => group !== plain)
    .map((group) => ({ group, time: against(group, "totalMs"), bytes: against(group, "wireBytes") }));
}

function best(natives: readonly Group[], figure: Figure): Group | undefined {
  const median = (group: Group) => group[figure]?.median ?? Number.POSITIVE_INFINITY;
  return natives
    .filter((group) => group[figure] !== null)
    .reduce<Group | undefined>(
      (least, group) => (least === undefined || median(group) < median(least) ? group : least),
      undefined,
    );
}

function saving(ours: Group, theirs: Group | undefined, figure: Figure): Saving | null {
  const one: Summary | null = ours[figure];
  const other = theirs?.[figure] ?? null;
  if (theirs === undefined || one === null || other === null) return null;
  // Of what took nothing, or next to it, nothing can be saved.
  if (!Number.isFinite(one.most / other.least)) return null;
  return {
    median: 1 - one.median / other.median,
    least: 1 - one.most / other.least,
    most: 1 - one.least / other.most,
    baseline: theirs.method,
    baselineDiverged: theirs.diverged.length,
  };
}
