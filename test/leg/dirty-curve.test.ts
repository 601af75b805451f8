import fc from "fast-check";
import t from "tap";
import { DirtyCurve } from "../../cli/leg/dirty-curve.ts";

const MIB = 1 << 20;
const memoryBytes = 64 * MIB;

/** A guest that writes to a working set evenly, and a QEMU that is read at a steady rate. */
function simulate(options: { workingSet: number; dirtyPerMs: number; sentPerMs: number; forMs: number }) {
  const { workingSet, dirtyPerMs, sentPerMs, forMs } = options;
  const curve = new DirtyCurve();
  let remaining = memoryBytes;
  let sent = 0;
  let pass = 1;
  let sinceRead = 0;
  const begun: number[] = [];
  const dirty = () => Math.min(workingSet, dirtyPerMs * sinceRead);
  let now = 0;
  for (; now < forMs; now++) {
    sinceRead++;
    const step = Math.min(sentPerMs, remaining);
    remaining -= step;
    sent += step;
    if (remaining === 0) {
      pass++;
      remaining = dirty();
      sinceRead = 0;
    }
    if (now % 50 === 0 && curve.observe({ pass, remainingBytes: remaining, sentBytes: sent }, now))
      begun.push(now);
  }
  return { curve, now: now - 1, begun, unsent: () => Math.min(workingSet, remaining + dirty()) };
}

t.test("before a pass has ended nothing is known, and all of the memory may be dirty", async (t) => {
  const curve = new DirtyCurve();
  t.equal(curve.dirtied(1), Number.POSITIVE_INFINITY);
  t.equal(curve.unsent(0, 0), Number.POSITIVE_INFINITY);
  t.notOk(curve.observe({ pass: 1, remainingBytes: memoryBytes, sentBytes: 0 }, 0));
  t.notOk(curve.observe({ pass: 1, remainingBytes: MIB, sentBytes: 63 * MIB }, 5000));
  t.equal(curve.unsent(5000, 0), Number.POSITIVE_INFINITY);
});

t.test(
  "what a pass found is known exactly, also when part of it was sent before anybody looked",
  async (t) => {
    const curve = new DirtyCurve();
    curve.observe({ pass: 1, remainingBytes: 10 * MIB, sentBytes: 0 }, 0);
    curve.observe({ pass: 1, remainingBytes: 1 * MIB, sentBytes: 9 * MIB }, 900);
    // The last MiB was sent, 3 MiB were found, and 2 of them were sent.
    t.ok(curve.observe({ pass: 2, remainingBytes: 1 * MIB, sentBytes: 12 * MIB }, 1000));
    t.strictSame(curve.passes, [{ foundBytes: 3 * MIB, elapsedMs: 1000 }]);
    t.equal(curve.dirtied(500), 3 * MIB, "no less is known for a shorter time");
    t.equal(curve.dirtied(2000), 6 * MIB, "and no more than twice as much for twice the time");
  },
);

t.test(
  "the beginning of the first pass finds nothing; several passes between two looks share it",
  async (t) => {
    const curve = new DirtyCurve();
    curve.observe({ pass: 0, remainingBytes: 0, sentBytes: 0 }, 0);
    t.notOk(curve.observe({ pass: 1, remainingBytes: memoryBytes, sentBytes: 0 }, 50));
    curve.observe({ pass: 4, remainingBytes: 0, sentBytes: memoryBytes + 3 * MIB }, 350);
    t.strictSame(curve.passes, [{ foundBytes: MIB, elapsedMs: 100 }]);
  },
);

t.test("a small working set that is written all the time is known for what it is", async (t) => {
  const { curve, now } = simulate({ workingSet: MIB, dirtyPerMs: 8000, sentPerMs: 5000, forMs: 16_000 });
  t.ok(curve.dirtied(200) <= 1.05 * MIB, `${curve.dirtied(200)} in 200 ms, not ${8000 * 200}`);
  t.ok(curve.unsent(now, 100) <= 2.1 * MIB);
});

t.test("a slow guest in a large memory comes to little", async (t) => {
  const { curve, now, unsent } = simulate({
    workingSet: 32 * MIB,
    dirtyPerMs: 1000,
    sentPerMs: 10_000,
    forMs: 16_000,
  });
  t.ok(curve.unsent(now, 0) < 600_000, `${curve.unsent(now, 0)}, really ${unsent()}`);
});

t.test("another migration, and a lost link, begin anew", async (t) => {
  const { curve, now } = simulate({ workingSet: MIB, dirtyPerMs: 8000, sentPerMs: 5000, forMs: 16_000 });
  curve.observe({ pass: 1, remainingBytes: memoryBytes, sentBytes: 0 }, now + 100);
  t.equal(curve.passes.length, 0);
  t.equal(curve.unsent(now + 100, 0), Number.POSITIVE_INFINITY);
  const other = simulate({ workingSet: MIB, dirtyPerMs: 8000, sentPerMs: 5000, forMs: 16_000 });
  other.curve.forget(other.now);
  t.equal(other.curve.dirtied(1), Number.POSITIVE_INFINITY);
});

t.test("for a guest whose habits stay, what is unsent is never taken for much less than it is", async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100_000, max: 30 * MIB }),
      fc.integer({ min: 10, max: 20_000 }),
      fc.integer({ min: 4000, max: 50_000 }),
      (workingSet, dirtyPerMs, sentPerMs) => {
        const forMs = Math.ceil(memoryBytes / sentPerMs) + 4321;
        const { curve, now, unsent } = simulate({ workingSet, dirtyPerMs, sentPerMs, forMs });
        // Looks are 50 ms apart: so much may have been written since.
        return curve.unsent(now, 0) >= Math.min(unsent() * 0.7, unsent() - 50 * dirtyPerMs);
      },
    ),
    { numRuns: 60 },
  );
});
