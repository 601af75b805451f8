/** Cells one after the other, in as few testbeds as that allows. */

import { messageOf } from "../../cli/errors.ts";
import { runCell } from "./cell.ts";
import { FaultBed } from "./fault-bed.ts";
import { judge, type Observation, type Verdict } from "./judge.ts";
import type { Cell } from "./matrix.ts";
import { canMount } from "./small-stores.ts";

/** Told after each cell; `condition` is what the sites said of themselves after a violation. */
export type ReportCell = (verdict: Verdict, seconds: number, condition: string) => void;

/** Runs cells. A testbed in which something was violated is not used again. */
export async function runLane(cells: readonly Cell[], report: ReportCell): Promise<void> {
  let bed: FaultBed | null = null;
  try {
    for (const cell of cells) {
      const startedAt = Date.now();
      let seen: Observation;
      try {
        // A first leg needs sites that have nothing in common.
        if (bed && (cell.place.leg === "first" || bed.isSpoilt)) bed = await closed(bed);
        bed ??= await boot(cell);
        seen = await runCell(bed, cell);
      } catch (error) {
        seen = await nothingShown(bed, messageOf(error));
      }
      const verdict = judge(cell, seen);
      const isGood = verdict.violations.length === 0;
      const condition = isGood ? "" : ((await bed?.rig.condition().catch(messageOf)) ?? "");
      report(verdict, (Date.now() - startedAt) / 1000, condition);
      if (bed && !isGood) bed.isSpoilt = true;
    }
  } finally {
    await bed?.close();
  }
}

/** A testbed in which the cell can run: for a return leg there was one leg. */
async function boot({ place }: Cell): Promise<FaultBed> {
  const bed = await FaultBed.boot(canMount);
  if (place.leg === "first") return bed;
  const problems = await bed.comparedLeg();
  if (problems.length === 0) return bed;
  await bed.close();
  throw new Error(`its first leg failed: ${problems.join("; ")}`);
}

async function closed(bed: FaultBed): Promise<null> {
  await bed.close();
  return null;
}

/** A testbed that fails is a violation of the cell: nothing was shown. */
async function nothingShown(bed: FaultBed | null, why: string): Promise<Observation> {
  return {
    isReached: true,
    legEnd: "",
    overlaps: bed?.rig.runs.overlaps() ?? [],
    running: (await bed?.copiesRunning()) ?? 0,
    meanwhile: null,
    unsettled: `the testbed failed: ${why}`,
    unrecovered: null,
    damage: [],
    nextLeg: [],
  };
}
