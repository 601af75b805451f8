import t from "tap";
import { estimateReturn } from "../../cli/agent/tracking-report.ts";

const MIB = 1 << 20;
const known = {
  memoryBytes: 1024 * MIB,
  kept: { pageBytes: 8 * MIB, frameBytes: 2 * MIB },
  unreadBytes: 12 * MIB,
  heldMs: 60_000,
  measured: null,
};

t.test("without a measurement only what was kept is told", async (t) => {
  const { quality, ...figures } = estimateReturn(known);
  t.strictSame(figures, {
    keptBytes: 8 * MIB,
    keptWireBytes: 2 * MIB,
    unreadBytes: 12 * MIB,
    dirtyBytesPerSecond: null,
    measuredAgeMs: null,
    dirtiedBytes: null,
    wireBytes: null,
  });
  t.match(quality, /not known \(no measurement so far/);
  t.match(estimateReturn({ ...known, memoryBytes: 64 * MIB }).quality, /no memory below 128 MiB/);
});

t.test("bounds: the same pages again and again, or others each time", async (t) => {
  const measured = { bytesPerSecond: 4 * MIB, ageMs: 1000 };
  const found = estimateReturn({ ...known, measured });
  t.strictSame(found.dirtiedBytes, { atLeast: 4 * MIB, atMost: 300 * MIB });
  t.strictSame(found.wireBytes, { atLeast: 3 * MIB, atMost: 77 * MIB }, "at the share of what was kept");
  t.equal(found.measuredAgeMs, 1000);
});

t.test("nothing measured means less than the measure's step", async (t) => {
  const found = estimateReturn({ ...known, measured: { bytesPerSecond: 0, ageMs: 0 } });
  t.strictSame(found.dirtiedBytes, { atLeast: 0, atMost: 60 * MIB });
});

t.test("no more than all memory can have changed", async (t) => {
  const measured = { bytesPerSecond: 2000 * MIB, ageMs: 0 };
  const found = estimateReturn({ ...known, kept: { pageBytes: 0, frameBytes: 0 }, measured });
  t.strictSame(found.dirtiedBytes, { atLeast: 1024 * MIB, atMost: 1024 * MIB });
  t.strictSame(found.wireBytes, { atLeast: 1024 * MIB, atMost: 1024 * MIB }, "nothing is known of a saving");
});
