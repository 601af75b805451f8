import fc from "fast-check";
import t from "tap";
import { Coverage } from "../../cli/nbd/coverage.ts";

const LENGTH = 40;

t.test("parts in any order are judged as a table of bytes judges them", async () => {
  const part = fc.tuple(fc.integer({ min: -2, max: LENGTH + 1 }), fc.integer({ min: 1, max: 12 }));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
      const coverage = new Coverage(LENGTH);
      const table = new Array<boolean>(LENGTH).fill(false);
      for (const [from, length] of parts) {
        const to = from + length;
        const isOutside = from < 0 || to > LENGTH;
        const cameBefore = table.slice(Math.max(from, 0), to).includes(true);
        const problem = coverage.add(from, to);
        if (isOutside) {
          if (problem !== "it is outside of the request") throw new Error(`outside: ${problem}`);
          continue;
        }
        if ((problem !== null) !== cameBefore) throw new Error(`${from}..${to}: ${problem}`);
        if (problem === null) table.fill(true, from, to);
        if (coverage.isWhole !== table.every(Boolean)) throw new Error("whole");
      }
    }),
    { numRuns: 2000 },
  );
});

t.test("too many separate parts are refused, however long the range", async (t) => {
  const coverage = new Coverage(1 << 20);
  for (let i = 0; i < 4096; i++) t.equal(coverage.add(2 * i, 2 * i + 1), null);
  t.equal(coverage.add(9000, 9001), "it makes more than 4096 separate parts");
  t.equal(coverage.add(1, 2), null, "one that joins others still fits");
});
