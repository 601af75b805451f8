import fc from "fast-check";
import t from "tap";
import { planSchedule, type ScheduleInputs } from "../../src/predict/schedule.ts";

const start = { site: 0, staySlots: 0 } as const;

t.test("day here, night there, and moving costs something", async (t) => {
  const day = [1, 1, 1, 9, 9, 9];
  const night = [9, 9, 9, 1, 1, 1];
  const plan = planSchedule({ costs: [day, night], moveCost: () => 2, start });
  t.same(plan.sites, [0, 0, 0, 1, 1, 1]);
  t.match(plan, { moves: [3], slotCost: 6, moveCost: 2, stayCost: 30, moveOnceCost: 32 });
});

t.test("a difference smaller than two moves is not worth them", async (t) => {
  const here = [5, 5, 6, 5, 5];
  const there = [6, 6, 5, 6, 6];
  t.same(planSchedule({ costs: [here, there], moveCost: () => 0.6, start }).moves, []);
  t.same(planSchedule({ costs: [here, there], moveCost: () => 0.4, start }).moves, [2, 3]);
  t.same(planSchedule({ costs: [here, here], moveCost: () => 0, start }).moves, [], "nothing to gain");
});

t.test("a long stay makes the way back dear: the VM goes while it is cheap", async (t) => {
  const costs = [
    [4, 4, 4, 4, 4, 4],
    [3, 3, 3, 3, 3, 3],
  ] as const;
  const plan = planSchedule({ costs, moveCost: (stay) => stay * 1.5, start: { site: 0, staySlots: 0 } });
  t.same(plan.moves, [0]);
  const late = planSchedule({ costs, moveCost: (stay) => stay * 1.5, start: { site: 0, staySlots: 10 } });
  t.same(late.moves, []);
});

/** Every plan there is. */
function cheapest({ costs, moveCost, start }: ScheduleInputs): number {
  const from = (slot: number, site: 0 | 1, stay: number): number => {
    if (slot === costs[0].length) return 0;
    const other = (1 - site) as 0 | 1;
    return Math.min(
      costs[site][slot] + from(slot + 1, site, stay + 1),
      moveCost(stay) + costs[other][slot] + from(slot + 1, other, 1),
    );
  };
  return from(0, start.site, start.staySlots);
}

t.test("no plan is cheaper", async () => {
  const cost = fc.integer({ min: -20, max: 20 });
  const pairs = fc.array(fc.tuple(cost, cost), { minLength: 1, maxLength: 9 });
  fc.assert(
    fc.property(
      pairs,
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 0, max: 5 }),
      (slots, base, staySlots) => {
        const inputs: ScheduleInputs = {
          costs: [slots.map(([a]) => a), slots.map(([, b]) => b)],
          moveCost: (stay) => base + Math.sqrt(stay),
          start: { site: 1, staySlots },
        };
        const plan = planSchedule(inputs);
        return Math.abs(plan.slotCost + plan.moveCost - cheapest(inputs)) < 1e-9;
      },
    ),
  );
});

t.test("what cannot be planned is refused", async (t) => {
  const plan = (a: number[], b: number[], moveCost = () => 1) =>
    planSchedule({ costs: [a, b], moveCost, start });
  t.throws(() => plan([], []), /number of slots 0/);
  t.throws(() => plan([1], [1, 2]), /different times/);
  t.throws(() => plan([Number.NaN], [1]), /a cost NaN/);
  t.throws(() => plan([1], [1], () => Number.POSITIVE_INFINITY), /cost of a move Infinity/);
  t.throws(() => plan(Array(20_001).fill(1), Array(20_001).fill(1)), /number of slots 20001/);
});
