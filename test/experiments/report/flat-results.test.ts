import { parse } from "csv-parse/sync";
import t from "tap";
import { recordSchema } from "../../../cli/experiments/record.ts";
import { csvOf, flatRun } from "../../../cli/experiments/report/flat-results.ts";
import { syntheticRecord, syntheticRecords } from "./synthetic-records.ts";

t.test("runs come back from CSV as they were", async (t) => {
  const records = [
    ...syntheticRecords({ quick: true }),
    syntheticRecord({
      qemuVersion: 'with "quotes", commas\nand a second line',
      converged: false,
      totalMs: 0.1,
    }),
  ];
  const rows: Record<string, string>[] = parse(csvOf(records), { columns: true });
  t.strictSame(rows.map(fromRow), records);
});

t.test("the head names the units, and there is a column for each field", async (t) => {
  const [head, ...rows] = csvOf([syntheticRecord()]).split("\r\n");
  t.match(
    head,
    /^format,workload,dirty_pages_per_second,memory_bytes,.*,total_ms,downtime_ms,gap_ms,wire_bytes,/,
  );
  t.equal(rows.length, 2, "a row, and the end of its line");
  const predicted = { totalMs: range(1), downtimeMs: range(2), wireBytes: range(3) };
  const record = syntheticRecord({ predicted, awayMs: 4, changedShare: 0.5, dirtyPagesPerSecond: 6 });
  t.equal(leaves(record), Object.keys(flatRun(record)).length);
  t.notOk(Object.values(flatRun(record)).includes(null));
});

function range(value: number) {
  return { value, low: value, high: value };
}

function leaves(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce((sum: number, part) => sum + leaves(part), 0);
}

/** A record of a row, built by hand. */
function fromRow(row: Record<string, string>) {
  const cell = (name: string) => row[name] ?? "";
  const amount = (name: string) => Number(cell(name));
  const maybe = (name: string) => (cell(name) === "" ? null : amount(name));
  const interval = (name: string, unit: string) => ({
    value: amount(`predicted_${name}_${unit}`),
    low: amount(`predicted_${name}_low_${unit}`),
    high: amount(`predicted_${name}_high_${unit}`),
  });
  const predicted = {
    totalMs: interval("total", "ms"),
    downtimeMs: interval("downtime", "ms"),
    wireBytes: interval("wire", "bytes"),
  };
  return recordSchema.parse({
    format: amount("format"),
    workload: cell("workload"),
    dirtyPagesPerSecond: maybe("dirty_pages_per_second"),
    memoryBytes: amount("memory_bytes"),
    age: cell("age"),
    nonZeroShare: amount("non_zero_share"),
    diskBytes: amount("disk_bytes"),
    link: { bitsPerSecond: amount("link_bits_per_second"), rttMs: amount("link_rtt_ms") },
    method: cell("method"),
    awayMs: maybe("away_ms"),
    repeat: amount("repeat"),
    at: cell("at_iso8601"),
    totalMs: amount("total_ms"),
    downtimeMs: amount("downtime_ms"),
    gapMs: maybe("gap_ms"),
    wireBytes: amount("wire_bytes"),
    converged: cell("converged") === "true",
    predicted: cell("predicted_total_ms") === "" ? null : predicted,
    changedShare: maybe("changed_share"),
    qemuVersion: cell("qemu_version"),
    load: amount("load_1_minute"),
  });
}
