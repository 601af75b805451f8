/**
 * One cell of the matrix, with a real QEMU pair: a leg is halted at its place, the fault is injected, what does not heal
 * by itself is healed as an operator or a service manager would; then the VM, both stores and a further leg are checked.
 */

import { messageOf } from "../../cli/errors.ts";
import { type ApproachedLeg, approach } from "./approach.ts";
import { damageOf, filesLeft, untilRemoved } from "./checks.ts";
import type { FaultBed } from "./fault-bed.ts";
import { inject, type RunningMeanwhile, restoreLink } from "./inject.ts";
import type { Observation } from "./judge.ts";
import type { Cell } from "./matrix.ts";

/** Short, so that a leg whose link never comes back ends soon. */
const foreverLinkTimeoutMs = 4_000;

/** Runs a cell with a leg from where the VM is. Throws only if the testbed itself does not work. */
export async function runCell(bed: FaultBed, { fault, place }: Cell): Promise<Observation> {
  const { rig, at: from } = bed;
  await bed.settle();
  await bed.change();
  const known = await bed.know();
  const overlapsBefore = rig.runs.overlaps().length;
  const leg = await approach(
    bed,
    place,
    fault === "cut-forever" ? { linkTimeoutMs: foreverLinkTimeoutMs } : {},
  );
  // In a RAM round memory is changed on the way there.
  const before = { ...known, model: bed.model.copy() };
  const meanwhile = await happen(bed, fault, from, leg);
  const { done, error } = await leg.end;
  if (done) bed.retain(done.generation, before);
  const ended = `the leg ended: ${error?.message ?? "well"}`;
  const legEnd = error ? (error.reason ?? "lost") : "done";
  const seen = { isReached: leg.isThere, legEnd, meanwhile, unsettled: null, unrecovered: null, nextLeg: [] };
  const overlaps = () => rig.runs.overlaps().slice(overlapsBefore);
  const damage = leg.isThere ? [] : [ended];

  let running: number;
  try {
    running = (await bed.settle()).runs ? 1 : 0;
  } catch (problem) {
    const unsettled = `${messageOf(problem)}; ${ended}`;
    return { ...seen, damage, overlaps: overlaps(), running: await bed.copiesRunning(), unsettled };
  }
  await bed.retainNewest(before);
  let state = before;
  try {
    if (running === 0) state = await bed.recover();
  } catch (problem) {
    return { ...seen, damage, overlaps: overlaps(), running, unrecovered: messageOf(problem) };
  }
  damage.push(...(await damageOf(bed, state).catch((problem) => [messageOf(problem)])));
  // Some of it goes with the next leg only.
  const left = await filesLeft(bed);
  const nextLeg = await bed.comparedLeg().catch((problem) => [messageOf(problem)]);
  damage.push(...(await untilRemoved(bed, left)));
  return { ...seen, damage, nextLeg, overlaps: overlaps(), running };
}

async function happen(
  bed: FaultBed,
  fault: Cell["fault"],
  from: string,
  { isThere, haltedSite, end }: ApproachedLeg,
): Promise<RunningMeanwhile> {
  if (!isThere) return null;
  const meanwhile = await inject(fault, { bed, from, haltedSite, end });
  // Some legs come to their place by a cut.
  await restoreLink(bed);
  return meanwhile;
}
