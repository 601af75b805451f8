/** How much of a VM's memory is changed after a time, from its own return legs, and what a return would then cost. */

import {
  type AgeingFit,
  changedShareAt,
  fitAgeing,
  type LegModel,
  predictLeg,
} from "../../src/predict/index.ts";
import { middle } from "../middle.ts";
import type { LegRecord } from "../store/leg-history.ts";

/** The curve of a VM; null with return legs of less than two different ages. */
export function ageingOf(legs: readonly LegRecord[]): AgeingFit | null {
  return fitAgeing(
    legs.flatMap(({ kind, ageSeconds, changedBytes, filledBytes, memoryBytes }) => {
      const filled = filledBytes ?? memoryBytes;
      if (kind !== "return" || ageSeconds === null || filled === 0) return [];
      return [{ seconds: ageSeconds, changedShare: Math.min(1, changedBytes / filled) }];
    }),
  );
}

/** A return after some time away. */
export interface ReturnCost {
  readonly awayMs: number;
  readonly changedShare: number;
  /** Null where such a leg would not end. */
  readonly totalMs: number | null;
  readonly wireBytes: number | null;
  readonly downtimeMs: number;
}

/** What a return after `awayMs` would cost, with the pages' usual cost on return legs. */
export function returnAfter(
  model: LegModel,
  curve: AgeingFit,
  legs: readonly LegRecord[],
  awayMs: number,
): ReturnCost {
  const changedPageShare = Math.min(1, changedShareAt(curve, awayMs / 1000));
  const costs = legs
    .filter(({ kind, changedBytes }) => kind === "return" && changedBytes > 0)
    .map(({ pageWireBytes, changedBytes }) => Math.min(2, pageWireBytes / changedBytes));
  const pageCost = middle(costs) ?? model.load.pageCost;
  const found = predictLeg({ ...model, load: { ...model.load, changedPageShare, pageCost } });
  return {
    awayMs,
    changedShare: changedPageShare,
    totalMs: found.converges ? Math.round(found.totalSeconds * 1000) : null,
    wireBytes: found.converges ? Math.round(found.wireBytes.total) : null,
    downtimeMs: Math.round(found.downtimeSeconds * 1000),
  };
}
