import fc from "fast-check";
import t from "tap";
import { extents, type PlacedExtent } from "../../cli/nbd/extents.ts";
import type { Extent } from "../../cli/nbd/reply-content.ts";

const GIB = 2 ** 30;

/** A disk as a list of runs, whose server answers with `most` extents at most. */
function fakeClient(runs: readonly Extent[], most: number) {
  const sizeBytes = runs.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const queries: number[] = [];
  const blockStatus = async (offset: number, lengthBytes: number) => {
    queries.push(lengthBytes);
    const found: Extent[] = [];
    let at = 0;
    for (const run of runs) {
      const from = Math.max(at, offset);
      const to = Math.min(at + run.lengthBytes, offset + lengthBytes);
      if (to > from && found.length < most) found.push({ lengthBytes: to - from, flags: run.flags });
      at += run.lengthBytes;
    }
    return new Map([["x", found]]);
  };
  return { client: { sizeBytes, contexts: ["x"], blockStatus }, queries };
}

async function collect(walk: AsyncIterable<PlacedExtent>): Promise<PlacedExtent[]> {
  const all: PlacedExtent[] = [];
  for await (const extent of walk) all.push(extent);
  return all;
}

t.test("a walk gives each run once, whatever a server answers at once", async () => {
  const run = fc.record({
    lengthBytes: fc.integer({ min: 1, max: GIB }),
    flags: fc.integer({ min: 0, max: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 20 }), fc.integer({ min: 1, max: 5 }), async (runs, most) => {
      const expected: PlacedExtent[] = [];
      let offset = 0;
      for (const { lengthBytes, flags } of runs) {
        const last = expected.at(-1);
        if (last?.flags === flags) {
          expected[expected.length - 1] = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
        } else {
          expected.push({ offset, lengthBytes, flags });
        }
        offset += lengthBytes;
      }
      const found = await collect(extents(fakeClient(runs, most).client, "x"));
      if (JSON.stringify(found.map(ordered)) !== JSON.stringify(expected.map(ordered)))
        throw new Error("differs");
    }),
    { numRuns: 300 },
  );
});

function ordered({ offset, lengthBytes, flags }: PlacedExtent): number[] {
  return [offset, lengthBytes, flags];
}

t.test("a large disk is asked for in pieces that fit into a request", async (t) => {
  const { client, queries } = fakeClient([{ lengthBytes: 1024 * GIB, flags: 3 }], 100);
  t.strictSame(await collect(extents(client, "x")), [{ offset: 0, lengthBytes: 1024 * GIB, flags: 3 }]);
  t.ok(queries.every((lengthBytes) => lengthBytes <= 0xffff_ffff));
});

t.test("a range is walked from its start to its end", async (t) => {
  const runs = [1, 0, 1].map((flags) => ({ lengthBytes: 100, flags }));
  t.strictSame(await collect(extents(fakeClient(runs, 9).client, "x", 50, 210)), [
    { offset: 50, lengthBytes: 50, flags: 1 },
    { offset: 100, lengthBytes: 100, flags: 0 },
    { offset: 200, lengthBytes: 10, flags: 1 },
  ]);
});

t.test("a context that was not granted is a mistake of the caller", async (t) => {
  await t.rejects(collect(extents(fakeClient([], 9).client, "y")), TypeError);
});
