import t from "tap";
import { groupRuns } from "../../../cli/experiments/report/groups.ts";
import type { Table } from "../../../cli/experiments/report/table.ts";
import {
  divergedTable,
  errorTable,
  isEmpty,
  measuredTable,
  predictionTable,
  savingTable,
} from "../../../cli/experiments/report/tables.ts";
import { syntheticRecord, syntheticRecords } from "./synthetic-records.ts";

const texts = ({ groups }: Table) =>
  groups.map(({ title, rows }) => [
    title,
    ...rows.map((cells) => cells.map(({ text, details }) => [text, ...details].join(" / "))),
  ]);

const exact = (value: number) => ({ value, low: value, high: value });

t.test("runs that did not converge are told in their row and listed, and are in no figure", async (t) => {
  const situations = groupRuns([
    syntheticRecord({ totalMs: 1000 }),
    syntheticRecord({ totalMs: 3000, repeat: 2, gapMs: null }),
    syntheticRecord({ totalMs: 9e6, wireBytes: 5e9, repeat: 3, converged: false }),
    syntheticRecord({ method: "xbzrle", converged: false }),
  ]);
  t.strictSame(texts(measuredTable(situations)), [
    [
      "idle · 1 GiB, aged · 100 Mbit/s, 40 ms",
      [
        "QEMU pre-copy",
        "3 / 1 did not converge",
        "2.00 s / 1.00 s to 3.00 s",
        "120 ms / 120 ms to 120 ms",
        "250 ms / one run / missing in 1",
        "900 MB / 900 MB to 900 MB",
      ],
      ["QEMU xbzrle", "1 / 1 did not converge", ...Array(4).fill("did not converge")],
    ],
  ]);
  t.strictSame(texts(divergedTable(situations)), [
    [
      "idle · 1 GiB, aged · 100 Mbit/s, 40 ms",
      ["QEMU pre-copy", "3", "2026-01-02T03:04:05Z", "150 m 0 s", "5 GB"],
      ["QEMU xbzrle", "1", "2026-01-02T03:04:05Z", "1 m 20 s", "900 MB"],
    ],
  ]);
  t.ok(isEmpty(divergedTable(groupRuns([syntheticRecord()]))));
});

t.test("savings say beside what, and how good that was", async (t) => {
  const ours = { method: "bfmig-return", awayMs: 20_000, totalMs: 800, wireBytes: 45e7 } as const;
  const situations = groupRuns([
    syntheticRecord(),
    syntheticRecord({ repeat: 2, converged: false }),
    syntheticRecord({ method: "xbzrle", totalMs: 8000 }),
    syntheticRecord(ours),
  ]);
  t.strictSame(texts(savingTable(situations))[0]?.at(-1), [
    "bfmig, return leg after 20 s away",
    "99.00 % / 1 of its runs did not converge",
    "90.0 % / beside QEMU xbzrle",
    "50.0 % / 1 of its runs did not converge",
    "50.0 % / beside QEMU pre-copy / 1 of its runs did not converge",
  ]);
});

t.test("predictions stand beside outcomes with their errors", async (t) => {
  const predicted = { totalMs: exact(1100), downtimeMs: exact(90), wireBytes: exact(200) };
  const leg = { method: "bfmig-first", predicted, totalMs: 1000, downtimeMs: 100, wireBytes: 100 } as const;
  const records = [syntheticRecord(leg), syntheticRecord({ ...leg, converged: false, repeat: 2 })];
  t.strictSame(texts(predictionTable(groupRuns(records)))[0]?.[1], [
    "bfmig, first leg",
    "1",
    "1.10 s",
    "1.00 s / one run",
    "10.0 %",
    "200 B",
    "100 B / one run",
    "100.0 %",
  ]);
  t.strictSame(texts(errorTable(records)), [
    [
      null,
      ["total time", "1", "10.0 %", "10.0 %", "+10.0 %", "100.0 %", "0 %"],
      ["downtime", "1", "10.0 %", "10.0 %", "−10.0 %", "100.0 %", "0 %"],
      ["bytes on the wire", "1", "100.0 %", "100.0 %", "+100.0 %", "0 %", "0 %"],
    ],
  ]);
  t.ok(isEmpty(errorTable([syntheticRecord()])));
});

t.test("every row is as wide as its head, and QEMU's version is told where there are several", async (t) => {
  const situations = groupRuns([
    ...syntheticRecords({ quick: true }),
    syntheticRecord({ qemuVersion: "10.0.8" }),
  ]);
  for (const table of [measuredTable(situations), savingTable(situations), predictionTable(situations)]) {
    const widths = table.groups.flatMap(({ rows }) => rows.map((cells) => cells.length));
    t.ok(widths.length > 0 && widths.every((width) => width === table.head.length), table.id);
    t.ok(
      table.groups.every(({ title }) => / · QEMU (7\.2\.22|10\.0\.8)$/.test(title ?? "")),
      table.id,
    );
  }
});
