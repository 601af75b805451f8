import t from "tap";
import { budgetShortfall, nextStart } from "../../cli/commands/sync-pace.ts";

t.test("checkpoints keep their beat, and those that were missed are not made up for", async (t) => {
  t.equal(nextStart(1000, 600, 1001), 1600);
  t.equal(nextStart(1000, 600, 1600), 1600, "on the beat");
  t.equal(nextStart(1000, 600, 1601), 2200);
  t.equal(nextStart(1000, 600, 4000), 4000);
  t.equal(nextStart(1000, 600, 1000), 1600, "never the same again");
});

t.test("a budget that does not suffice is told with the rate that would", async (t) => {
  const cost = { everyMs: 60_000, bitsPerSecond: 1e6, tookMs: 90_000, wireBytes: 15e6 };
  t.strictSame(budgetShortfall(cost), { neededBitsPerSecond: 2e6 });
  t.equal(budgetShortfall({ ...cost, tookMs: 60_000 }), null, "it was in time");
  t.strictSame(
    budgetShortfall({ ...cost, bitsPerSecond: null }),
    { neededBitsPerSecond: null },
    "there is no budget",
  );
  t.strictSame(
    budgetShortfall({ ...cost, wireBytes: 1e6 }),
    { neededBitsPerSecond: null },
    "it was not in the way",
  );
});
