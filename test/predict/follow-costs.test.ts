import t from "tap";
import { parseCostTable } from "../../cli/predict/cost-table.ts";
import { type FollowInputs, followCosts } from "../../cli/predict/follow-costs.ts";
import { plainLink, quietLoad } from "../../src/predict/index.ts";

/** Two days of hours; a is dear by day, b by night. */
const text = [
  "time,a,b",
  ...Array.from({ length: 48 }, (_, hour) => {
    const isDay = hour % 24 >= 6 && hour % 24 < 18;
    return `${new Date(Date.UTC(2026, 2, 1, hour)).toISOString()},${isDay ? 10 : 2},${isDay ? 2 : 10}`;
  }),
].join("\n");
const inputs: FollowInputs = {
  table: parseCostTable(text, "costs.csv"),
  site: "a",
  to: "b",
  from: null,
  until: null,
  legs: [],
  curve: { limit: 0.5, seconds: 86_400, residual: 0, samples: 3 },
  model: {
    link: { ...plainLink, efficiency: 1, bytesPerSecond: 10e6, rttSeconds: 0, initialBytes: 1e6 },
    load: quietLoad(4e9),
    speeds: {
      compareBytesPerSecond: 1e9,
      encodeBytesPerSecond: 1e9,
      readBytesPerSecond: 1e9,
      writeBytesPerSecond: 1e9,
      fixedSeconds: 1,
      activateSeconds: 0,
      roundSeconds: 0,
    },
    downtimeLimitSeconds: 0.3,
    messages: { bytes: 0, share: 0 },
  },
};

t.test("the VM follows the cheaper site", async (t) => {
  const found = followCosts(inputs);
  t.same(
    found.moves.map(({ at, to }) => [at.slice(8, 13), to]),
    [
      ["01T06", "b"],
      ["01T18", "a"],
      ["02T06", "b"],
      ["02T18", "a"],
    ],
  );
  t.equal(found.meanStayMs, 12 * 3_600_000);
  t.equal(found.stayCost, 24 * 10 + 24 * 2);
  // 48 slots at 2, and four moves of 44 to 159 s at 12 an hour.
  t.ok(found.cost > 96 && found.cost < 96 + 4 * 0.6, String(found.cost));
  t.ok(found.saving !== null && found.saving > 0.6);
  t.ok(found.preSeed.isWorthIt && found.preSeed.with.totalMs < found.preSeed.without.totalMs);
});

t.test("a part of the table", async (t) => {
  const from = Date.UTC(2026, 2, 1, 8);
  const found = followCosts({ ...inputs, from, until: from + 4 * 3_600_000 });
  t.match(found, { from: "2026-03-01T08:00:00.000Z", until: "2026-03-01T12:00:00.000Z", stayCost: 40 });
  t.equal(found.moves.length, 1);
  t.equal(found.meanStayMs, null);
});

t.test("what the table does not have is refused", async (t) => {
  t.throws(() => followCosts({ ...inputs, to: "c" }), {
    reason: "usage",
    message: /no column for c; it has a, b/,
  });
  t.throws(() => followCosts({ ...inputs, from: 0 }), {
    reason: "usage",
    message: /the table reaches from 2026-03-01/,
  });
  const from = Date.UTC(2026, 2, 2);
  t.throws(() => followCosts({ ...inputs, from, until: from }), /Cannot plan from/);
});
