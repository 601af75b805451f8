import t from "tap";
import type { Cell, Method, Work } from "./matrix-cells.ts";
import { type CellRuns, compare, growth, ratio, verdicts, zstdRatio } from "./matrix-summary.ts";
import { columns, matrixText, targetTable } from "./matrix-table.ts";
import { type Measured, middleRun } from "./measured.ts";

const link = { megabitsPerSecond: 100, rttMs: 40 };

t.test("legs are set beside each variant of QEMU's with the same guest and link", (t) => {
  const results = [
    cell("plain", null, [{ totalMs: 40_000, downtimeMs: 100, wireBytes: 400e6, qemuCpuSeconds: 4 }]),
    cell("multifd-zstd", null, [{ totalMs: 20_000, downtimeMs: 200, wireBytes: 100e6, qemuCpuSeconds: 8 }]),
    cell("plain", null, [{ totalMs: 1 }], { memoryMiB: 1024 }),
    cell("plain", null, [{ totalMs: 1 }], { link: { ...link, rttMs: 10 } }),
    cell("plain", null, [{ totalMs: 1 }], { content: "dense" }),
    cell("scan", "1pc", [
      {
        totalMs: 2_000,
        downtimeMs: 50,
        wireBytes: 2e6,
        qemuCpuSeconds: 1,
        agentCpuSeconds: 3,
        agentMemoryBytes: 50,
      },
    ]),
  ];
  t.match(compare(results), [
    {
      variant: "plain",
      mode: "scan",
      work: "1pc",
      time: 0.05,
      downtime: 0.5,
      wire: 0.005,
      cpu: 1,
      memory: 1.5,
    },
    { variant: "multifd-zstd", time: 0.1, downtime: 0.25, wire: 0.02, cpu: 0.5, memory: 1.5 },
  ]);
  t.equal(compare(results).length, 2);
  t.equal(zstdRatio(results), 4);
  t.end();
});

t.test("what is not known has no ratio", (t) => {
  t.equal(ratio(1, 0), null);
  t.equal(ratio(null, 1), null);
  t.equal(ratio(1, null), null);
  t.equal(ratio(0, 4), 0);
  const results = [
    cell("plain", null, [{ qemuMemoryBytes: null }]),
    cell("scan", "idle", [{}]),
    cell("multifd-zstd", null, []),
  ];
  t.equal(compare(results)[0]?.memory, null);
  t.equal(compare(results).length, 1, "a cell without runs is not there");
  t.equal(zstdRatio(results), null);
  t.match(matrixText(results), /not measured: mixed-512MiB-100Mbit-40ms-multifd-zstd/);
  t.end();
});

t.test("of several runs the one with the middle time counts, but for downtimes", (t) => {
  const runs = [measured({ totalMs: 30 }), measured({ totalMs: 10 }), measured({ totalMs: 20 })];
  t.equal(middleRun(runs).totalMs, 20);
  t.throws(() => middleRun([]), RangeError);
  t.end();
});

t.test("an idle return has two targets at 100 Mbit/s", (t) => {
  const targets = (idleMs: number, plainMs: number, bestMs: number) =>
    verdicts([
      cell("plain", null, [{ totalMs: plainMs }]),
      cell("multifd-zstd", null, [{ totalMs: bestMs }]),
      cell("scan", "idle", [{ totalMs: idleMs }]),
    ])
      .filter(({ target }) => target.startsWith("idle"))
      .map(({ limit, kept }) => [limit, kept]);
  t.same(targets(400, 40_000, 15_000), [
    [400, true],
    [500, true],
  ]);
  t.same(targets(501, 40_000, 15_000), [
    [400, false],
    [500, false],
  ]);
  t.same(targets(600, 80_000, 30_000), [
    [800, true],
    [900, true],
  ]);
  const elsewhere = { link: { megabitsPerSecond: 1000, rttMs: 10 } };
  const found = verdicts([cell("plain", null, [{}], elsewhere), cell("scan", "idle", [{}], elsewhere)]);
  t.same(
    found.map(({ target }) => target),
    ["downtime ≤ QEMU's least + 2 RTT + 50 ms"],
  );
  t.end();
});

t.test("a downtime counts at its worst, beside the best of QEMU's", (t) => {
  const downtime = (downtimes: number[]) =>
    verdicts([
      cell("plain", null, [{ downtimeMs: 90 }]),
      cell("xbzrle", null, [{ downtimeMs: 70 }]),
      cell(
        "standing",
        "8mib",
        downtimes.map((downtimeMs) => ({ downtimeMs })),
      ),
    ]);
  t.match(downtime([10, 200, 20]), [{ figure: 200, limit: 70 + 80 + 50, kept: true, unit: "ms" }]);
  t.match(downtime([10, 201, 20]), [{ figure: 201, kept: false }]);
  t.end();
});

t.test("a first leg is held against QEMU's fastest, one of Linux also against zstd's bytes", (t) => {
  const first = (content: Cell["content"], totalMs: number, wireBytes: number) =>
    verdicts([
      cell("plain", null, [{ totalMs: 16_000, wireBytes: 145e6 }], { content }),
      cell("multifd-zstd", null, [{ totalMs: 8_000, wireBytes: 72e6 }], { content }),
      cell("scan", "first", [{ totalMs, wireBytes }], { content }),
    ]).filter(({ target }) => target.startsWith("first leg"));
  t.match(first("mixed", 8_000, 72e6), [{ limit: 8_000, kept: true }]);
  t.match(first("mixed", 8_001, 1), [{ kept: false }]);
  t.match(first("linux", 7_000, 71e6), [{ kept: true }, { kept: true, unit: "bytes", limit: 72e6 }]);
  t.match(first("linux", 7_000, 72e6), [{ kept: true }, { kept: false, unit: "bytes" }]);
  t.match(targetTable(first("linux", 7_000, 72e6)), /targets kept: 1 of 2$/);
  t.end();
});

t.test("a return leg that did not begin as its mode says is marked", (t) => {
  const text = matrixText([
    cell("standing", "first", [{ tracking: "scan" }]),
    cell("standing", "idle", [{ tracking: "standing" }, { tracking: "scan" }, { tracking: "standing" }]),
    cell("standing", "1pc", [{ tracking: "standing" }]),
  ]);
  t.match(text, "standing, return, idle (1 of 3 by scan)");
  t.equal(text.match(/ by scan/g)?.length, 1);
  t.end();
});

t.test("there are no targets without QEMU's figures", (t) => {
  t.same(verdicts([cell("scan", "first", [{}]), cell("plain", null, [])]), []);
  t.end();
});

t.test("growth is told of changes that do not grow themselves", (t) => {
  const row = (method: Method, work: Work | null, memoryMiB: number, totalMs: number, wireBytes: number) =>
    cell(method, work, [{ totalMs, wireBytes }], { memoryMiB });
  const rows = growth([
    row("plain", null, 512, 10, 100),
    row("plain", null, 2048, 40, 400),
    row("scan", "8mib", 2048, 900, 8),
    row("scan", "8mib", 512, 300, 8),
    row("scan", "8mib", 1024, 500, 9),
    row("scan", "10pc", 512, 1, 1),
    row("scan", "10pc", 2048, 4, 4),
    row("standing", "idle", 512, 1, 1),
  ]);
  t.match(rows, [
    { method: "plain", work: null, sizeRatio: 4, timeRatio: 4, wireRatio: 4 },
    {
      method: "scan",
      work: "8mib",
      sizesMiB: [512, 1024, 2048],
      totalMs: [300, 500, 900],
      timeRatio: 3,
      wireRatio: 1,
    },
  ]);
  t.equal(rows.length, 2);
  t.end();
});

t.test("a standing bitmap's legs have to be flat, in time and in bytes", (t) => {
  const flat = (method: Method, work: Work, totalMs: number, wireBytes: number) =>
    verdicts([
      cell(method, work, [{ totalMs: 1000, wireBytes: 1e6 }]),
      cell(method, work, [{ totalMs, wireBytes }], { memoryMiB: 2048 }),
    ]);
  t.match(flat("standing", "8mib", 1250, 1.26e6), [
    { target: "flat with a standing bitmap: time", figure: 1.25, limit: 1.25, kept: true, unit: "times" },
    { target: "flat with a standing bitmap: bytes", figure: 1.26, kept: false },
  ]);
  t.same(flat("scan", "8mib", 1250, 1e6), [], "a scan is not expected to be");
  t.same(flat("standing", "10pc", 1250, 1e6), [], "nor are changes that grow");
  t.same(flat("standing", "idle", 1250, 1e6), [], "some kilobytes of messages say nothing");
  t.end();
});

t.test("columns are as wide as their widest entry", (t) => {
  t.equal(
    columns([
      ["", "a", "bb"],
      ["long", "1"],
    ]),
    "      a  bb\nlong  1",
  );
  t.equal(columns([]), "");
  t.end();
});

function cell(
  method: Method,
  work: Work | null,
  runs: readonly Partial<Measured>[],
  changes: Partial<Cell> = {},
): CellRuns {
  return {
    cell: { method, work, memoryMiB: 512, link, content: "mixed", runs: runs.length, ...changes },
    runs: runs.map(measured),
  };
}

function measured(changes: Partial<Measured>): Measured {
  return {
    totalMs: 1000,
    downtimeMs: 10,
    reportedDowntimeMs: 9,
    wireBytes: 1e6,
    agentCpuSeconds: 0,
    qemuCpuSeconds: 1,
    agentMemoryBytes: 0,
    qemuMemoryBytes: 100,
    rounds: 2,
    tracking: null,
    ...changes,
  };
}
