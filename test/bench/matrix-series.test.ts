import t from "tap";
import { switchoverOf } from "../../cli/experiments/run-log.ts";
import { QEMU_BINARY } from "../qemu/qemu-fixture.ts";
import { spreadRuns } from "./guest-bed.ts";
import { type Cell, filledBytes, type Work } from "./matrix-cells.ts";
import { runSeries } from "./matrix-series.ts";
import type { Measured } from "./measured.ts";
import { largestMapping } from "./process-costs.ts";

const memoryMiB = 64;
const pageBytes = 4096;

t.test(
  "a first leg and return legs are measured, with what was rewritten between them, until they are stopped",
  async (t) => {
    const stop = new AbortController();
    const measured: Measured[] = [];
    const works = ["first", "idle", "10pc", "1pc"] as const;
    await t.rejects(
      runSeries(works.map(cell), {
        qemuBinary: QEMU_BINARY,
        tell: () => {},
        keep: (one, [run]) => {
          measured.push(run as Measured);
          if (one.work === "10pc") stop.abort(new Error("enough"));
        },
        signal: stop.signal,
      }),
      { message: "enough" },
      "the last one is not begun",
    );
    t.equal(measured.length, 3);
    const [first, idle, tenth] = measured as [Measured, Measured, Measured];
    const filled = filledBytes(memoryMiB);
    t.ok(first.wireBytes > filled / 4 && first.wireBytes < filled, `${first.wireBytes} of ${filled} bytes`);
    const rewritten = Math.round(memoryMiB * 25.6) * pageBytes;
    t.ok(tenth.wireBytes > rewritten / 4 && tenth.wireBytes < 1.2 * rewritten, `${tenth.wireBytes} bytes`);
    t.ok(idle.wireBytes < rewritten / 10, `${idle.wireBytes} bytes of an idle guest`);
    for (const one of measured) {
      t.ok(one.totalMs > one.downtimeMs && one.downtimeMs > 0);
      t.ok(one.agentCpuSeconds > 0);
      t.ok(one.agentMemoryBytes > 0);
    }
  },
);

t.test("a downtime is from the source's last stop to the destination's first run", (t) => {
  const event = (site: string, what: string, atMs: number) => ({ site, what, atMs });
  const events = [
    event("a", "stop", 10),
    event("a", "run", 12),
    event("a", "stop", 20),
    event("b", "run", 35),
  ];
  t.same(switchoverOf(events, "a", "b"), { stopAtMs: 20, runAtMs: 35 });
  t.equal(switchoverOf(events, "b", "a"), null, "nothing that happened in another direction");
  t.equal(switchoverOf(events.slice(0, 3), "a", "b"), null, "not yet");
  t.equal(switchoverOf(events.slice(3), "a", "b"), null);
  const late = [event("b", "run", 35), event("a", "stop", 20), event("a", "gone", 40)];
  t.same(switchoverOf(late, "a", "b"), { stopAtMs: 20, runAtMs: 35 }, "events may come late");
  t.end();
});

t.test("rewritten pages are spread over the filled memory, and as many as wanted", (t) => {
  for (const [pages, of] of [
    [1310, 100_000],
    [7, 1000],
    [0, 1000],
    [1000, 1000],
    [999, 1001],
  ] as const) {
    const runs = spreadRuns(pages, of, 16);
    t.equal(
      runs.reduce((sum, { count }) => sum + count, 0),
      pages,
    );
    for (const [i, { first, count }] of runs.entries()) {
      t.ok(count >= 0 && first + count <= (runs[i + 1]?.first ?? of), `run ${i} of ${pages} in ${of}`);
    }
  }
  t.end();
});

t.test("the largest mapping is found in what Linux tells", (t) => {
  const smaps =
    "00400000-00500000 r-xp\nSize:   1024 kB\nRss:     12 kB\n7f00-7f80 rw-p\nRss:    2048 kB\nPss: 9 kB\n";
  t.equal(largestMapping(smaps), 2 ** 21);
  t.equal(largestMapping(""), 0);
  t.end();
});

function cell(work: Work): Cell {
  const link = { megabitsPerSecond: 1000, rttMs: 10 };
  return { method: "scan", memoryMiB, link, content: "mixed", work, runs: 1 };
}
