/**
 * When to move a VM between two sites whose costs change with time ("follow the moon"). Time is cut into slots of equal
 * length; in each the VM is at one site and pays that site's cost. A move is made at the beginning of a slot, and what it
 * costs depends on how long the VM has been away from where it goes. The cheapest plan is found backwards, by dynamic
 * programming over slot, site and length of the stay (Bellman's principle), so no plan is cheaper.
 */

import { ModelError, requireWithin } from "./model-error.ts";

/** What a plan is made from. Costs are in one unit, such as money or grams of carbon dioxide. */
export interface ScheduleInputs {
  /** Cost of each slot if the VM spends it at site 0, and at site 1: two lists of equal length. */
  readonly costs: readonly [readonly number[], readonly number[]];
  /** Cost of a move after so many slots at the site that the VM leaves. */
  readonly moveCost: (staySlots: number) => number;
  /** Where the VM is at first, and for how many slots it has been there. */
  readonly start: { readonly site: 0 | 1; readonly staySlots: number };
}

/** A plan. */
export interface Schedule {
  /** Site of each slot. */
  readonly sites: readonly (0 | 1)[];
  /** Slots at whose beginning the VM moves. */
  readonly moves: readonly number[];
  /** Cost of the slots and of the moves. */
  readonly slotCost: number;
  readonly moveCost: number;
  /** Cost of staying where the VM is. */
  readonly stayCost: number;
  /** Cost of one move at once and staying there. */
  readonly moveOnceCost: number;
}

/** Slots of a plan at most. */
export const maxScheduleSlots = 20_000;
/** A stay that is longer counts like one of so many slots. */
const longestStay = 512;

/** Finds the cheapest plan. Throws ModelError for costs that are not finite numbers, no slots, or too many. */
export function planSchedule({ costs, moveCost, start }: ScheduleInputs): Schedule {
  const slots = costs[0].length;
  requireWithin("a number of slots", slots, { min: 1, max: maxScheduleSlots });
  if (costs[1].length !== slots)
    throw new ModelError("Cannot plan: the sites have costs for different times");
  for (const cost of [...costs[0], ...costs[1]]) requireWithin("a cost", cost, { min: -Number.MAX_VALUE });
  requireWithin("a stay in slots", start.staySlots, { min: 0 });
  const stays = Math.min(longestStay, slots + Math.ceil(start.staySlots)) + 1;
  const capped = (stay: number) => Math.min(Math.round(stay), stays - 1);
  const moveCosts = Float64Array.from({ length: stays }, (_, stay) => {
    const cost = moveCost(stay);
    requireWithin("the cost of a move", cost, { min: 0 });
    return cost;
  });
  // goes[(slot, site, stay)]: 1 if the VM, at `site` for `stay` slots, is to leave it when `slot` begins.
  const goes = new Uint8Array(slots * 2 * stays);
  let after = new Float64Array(2 * stays);
  for (let slot = slots - 1; slot >= 0; slot--) {
    const best = new Float64Array(2 * stays);
    for (const site of [0, 1] as const) {
      const other = (1 - site) as 0 | 1;
      for (let stay = 0; stay < stays; stay++) {
        const staying = costs[site][slot] + after[site * stays + capped(stay + 1)];
        const going = moveCosts[stay] + costs[other][slot] + after[other * stays + capped(1)];
        // A VM that would gain nothing stays.
        const leaves = going < staying;
        best[site * stays + stay] = leaves ? going : staying;
        goes[(slot * 2 + site) * stays + stay] = leaves ? 1 : 0;
      }
    }
    after = best;
  }
  return follow({
    costs,
    moveCosts,
    goes,
    stays,
    start: { site: start.site, stay: capped(start.staySlots) },
  });
}

interface Decisions {
  readonly costs: ScheduleInputs["costs"];
  readonly moveCosts: Float64Array;
  readonly goes: Uint8Array;
  readonly stays: number;
  readonly start: { readonly site: 0 | 1; readonly stay: number };
}

/** Plays the decisions from the start on. */
function follow({ costs, moveCosts, goes, stays, start }: Decisions): Schedule {
  const sites: (0 | 1)[] = [];
  const moves: number[] = [];
  let { site, stay } = start;
  let slotCost = 0;
  let moveCost = 0;
  for (let slot = 0; slot < costs[0].length; slot++) {
    if (goes[(slot * 2 + site) * stays + stay] === 1) {
      moves.push(slot);
      moveCost += moveCosts[stay];
      site = (1 - site) as 0 | 1;
      stay = 0;
    }
    sites.push(site);
    slotCost += costs[site][slot];
    stay = Math.min(stay + 1, stays - 1);
  }
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const there = (1 - start.site) as 0 | 1;
  return {
    sites,
    moves,
    slotCost,
    moveCost,
    stayCost: sum(costs[start.site]),
    moveOnceCost: moveCosts[start.stay] + sum(costs[there]),
  };
}
