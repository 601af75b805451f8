/**
 * "Follow the moon": when a VM is best moved between two sites whose costs change, by a table of costs. What a move costs is
 * what a leg after so long a stay takes, at the costs of both sites meanwhile; and whether a pre-seed each night pays.
 */

import { type AgeingFit, changedShareAt, type LegModel, planSchedule } from "../../src/predict/index.ts";
import { OperationError } from "../errors.ts";
import type { LegRecord } from "../store/leg-history.ts";
import { returnAfter } from "./ageing-history.ts";
import type { CostTable } from "./cost-table.ts";

/** What is asked. */
export interface FollowInputs {
  readonly table: CostTable;
  /** Where the VM is, and the other site. */
  readonly site: string;
  readonly to: string;
  /** Milliseconds since 1970; null: the table's beginning, its end. */
  readonly from: number | null;
  readonly until: number | null;
  readonly model: LegModel;
  readonly curve: AgeingFit;
  readonly legs: readonly LegRecord[];
}

/** One move of a plan. */
export interface PlannedMove {
  readonly at: string;
  readonly from: string;
  readonly to: string;
  readonly stayMs: number;
  readonly totalMs: number;
  readonly wireBytes: number;
}

/** The answer. Costs are in the table's unit. */
export interface FollowAnswer {
  readonly from: string;
  readonly until: string;
  readonly slotMs: number;
  readonly moves: readonly PlannedMove[];
  readonly cost: number;
  readonly stayCost: number;
  readonly moveOnceCost: number;
  /** How much of the cost of staying the plan saves, as a share; null where staying costs nothing. */
  readonly saving: number | null;
  /** Time between two moves of the plan in the mean; null with less than two. */
  readonly meanStayMs: number | null;
  readonly preSeed: PreSeedAnswer;
}

/** A leg after a day with and without what a pre-seed has carried an hour before. */
export interface PreSeedAnswer {
  readonly without: { readonly totalMs: number; readonly wireBytes: number };
  readonly with: { readonly totalMs: number; readonly wireBytes: number };
  /** What the pre-seed itself sends. */
  readonly seedWireBytes: number;
  /** The leg gets shorter by more than a tenth. */
  readonly isWorthIt: boolean;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** Plans. Throws OperationError "usage" where the table does not have what is asked for. */
export function followCosts(inputs: FollowInputs): FollowAnswer {
  const { table, site, to, model, curve, legs } = inputs;
  const [first, last] = slotsOf(inputs);
  const costs = [site, to].map((name) => {
    const found = table.costs.get(name);
    if (found) return found.slice(first, last);
    const known = [...table.costs.keys()].join(", ");
    throw new OperationError("usage", `Cannot plan: the table has no column for ${name}; it has ${known}`);
  }) as [number[], number[]];
  const { slotMs, startMs } = table;
  const legAfter = (awayMs: number) => {
    const found = returnAfter(model, curve, legs, awayMs);
    if (found.totalMs !== null && found.wireBytes !== null)
      return { totalMs: found.totalMs, wireBytes: found.wireBytes };
    throw new OperationError("failed", "Cannot plan: a leg of this VM would not end over that link");
  };
  // While it moves a VM costs at both sites.
  const mean = [...costs[0], ...costs[1]].reduce((sum, cost) => sum + Math.abs(cost), 0) / costs[0].length;
  const plan = planSchedule({
    costs,
    moveCost: (staySlots) => (legAfter(Math.max(1, staySlots) * slotMs).totalMs / slotMs) * mean,
    start: { site: 0, staySlots: 1 },
  });
  const names = [site, to];
  let since = -1;
  const moves = plan.moves.map((slot): PlannedMove => {
    const there = plan.sites[slot];
    const stayMs = Math.max(1, since < 0 ? slot + 1 : slot - since) * slotMs;
    since = slot;
    const at = new Date(startMs + (first + slot) * slotMs).toISOString();
    return { at, from: names[1 - there], to: names[there], stayMs, ...legAfter(stayMs) };
  });
  const cost = plan.slotCost + plan.moveCost;
  return {
    from: new Date(startMs + first * slotMs).toISOString(),
    until: new Date(startMs + last * slotMs).toISOString(),
    slotMs,
    moves,
    cost,
    stayCost: plan.stayCost,
    moveOnceCost: plan.moveOnceCost,
    saving: plan.stayCost > 0 ? (plan.stayCost - cost) / plan.stayCost : null,
    meanStayMs:
      moves.length < 2
        ? null
        : ((plan.moves[moves.length - 1] - plan.moves[0]) * slotMs) / (moves.length - 1),
    preSeed: preSeedOf(legAfter, curve, legAfter(dayMs)),
  };
}

/** What a pre-seed has carried is not sent again, and what the guest writes in an hour is. */
function preSeedOf(
  legAfter: (awayMs: number) => { totalMs: number; wireBytes: number },
  curve: AgeingFit,
  without: { readonly totalMs: number; readonly wireBytes: number },
): PreSeedAnswer {
  const withSeed =
    changedShareAt(curve, hourMs / 1000) < changedShareAt(curve, dayMs / 1000) ? legAfter(hourMs) : without;
  return {
    without,
    with: withSeed,
    seedWireBytes: without.wireBytes,
    isWorthIt: withSeed.totalMs < 0.9 * without.totalMs,
  };
}

function slotsOf({ table, from, until }: FollowInputs): [number, number] {
  const slots = [...table.costs.values()][0].length;
  const end = table.startMs + slots * table.slotMs;
  const slotAt = (ms: number) => (ms - table.startMs) / table.slotMs;
  const first = from === null ? 0 : Math.floor(slotAt(from));
  const last = until === null ? slots : Math.ceil(slotAt(until));
  const text = (ms: number) => new Date(ms).toISOString();
  if (first < 0 || last > slots || first >= last) {
    throw new OperationError(
      "usage",
      `Cannot plan from ${text(from ?? table.startMs)} until ${text(until ?? end)}: the table reaches from ` +
        `${text(table.startMs)} until ${text(end)}`,
    );
  }
  return [first, last];
}
