/** Runs as a table for other programs: a column for each field of a run, its unit in its name. */

import { stringify } from "csv-stringify/sync";
import type { ExperimentRecord } from "../record.ts";

/** What a column has of a run; null where there is nothing. */
type Field = string | number | boolean | null;

/** Every field of a run. */
const columns: Readonly<Record<string, (run: ExperimentRecord) => Field>> = {
  format: ({ format }) => format,
  workload: ({ workload }) => workload,
  dirty_pages_per_second: ({ dirtyPagesPerSecond }) => dirtyPagesPerSecond,
  memory_bytes: ({ memoryBytes }) => memoryBytes,
  age: ({ age }) => age,
  non_zero_share: ({ nonZeroShare }) => nonZeroShare,
  disk_bytes: ({ diskBytes }) => diskBytes,
  link_bits_per_second: ({ link }) => link.bitsPerSecond,
  link_rtt_ms: ({ link }) => link.rttMs,
  method: ({ method }) => method,
  away_ms: ({ awayMs }) => awayMs,
  repeat: ({ repeat }) => repeat,
  at_iso8601: ({ at }) => at,
  total_ms: ({ totalMs }) => totalMs,
  downtime_ms: ({ downtimeMs }) => downtimeMs,
  gap_ms: ({ gapMs }) => gapMs,
  wire_bytes: ({ wireBytes }) => wireBytes,
  converged: ({ converged }) => converged,
  predicted_total_ms: ({ predicted }) => predicted?.totalMs.value ?? null,
  predicted_total_low_ms: ({ predicted }) => predicted?.totalMs.low ?? null,
  predicted_total_high_ms: ({ predicted }) => predicted?.totalMs.high ?? null,
  predicted_downtime_ms: ({ predicted }) => predicted?.downtimeMs.value ?? null,
  predicted_downtime_low_ms: ({ predicted }) => predicted?.downtimeMs.low ?? null,
  predicted_downtime_high_ms: ({ predicted }) => predicted?.downtimeMs.high ?? null,
  predicted_wire_bytes: ({ predicted }) => predicted?.wireBytes.value ?? null,
  predicted_wire_low_bytes: ({ predicted }) => predicted?.wireBytes.low ?? null,
  predicted_wire_high_bytes: ({ predicted }) => predicted?.wireBytes.high ?? null,
  changed_share: ({ changedShare }) => changedShare,
  qemu_version: ({ qemuVersion }) => qemuVersion,
  load_1_minute: ({ load }) => load,
};

/** A run with the names of the columns. */
export function flatRun(record: ExperimentRecord): Record<string, Field> {
  return Object.fromEntries(Object.entries(columns).map(([name, field]) => [name, field(record)]));
}

/** The runs as CSV (RFC 4180), a head line first; null is an empty cell. */
export function csvOf(records: readonly ExperimentRecord[]): string {
  const rows = records.map((record) => Object.values(flatRun(record)));
  return stringify([Object.keys(columns), ...rows], {
    record_delimiter: "\r\n",
    cast: { boolean: (value) => String(value) },
  });
}
