/**
 * A table of what hosting costs at each site and time, as CSV: money, grams of carbon dioxide, or whatever is to be kept low.
 *
 *     time,a,b
 *     2026-03-29T00:00:00+01:00,31.5,12
 *     2026-03-29T01:00:00+01:00,30,12.25
 *
 * Each line is a slot that ends where the next one begins; all are equally long. A time without an offset from UTC could mean
 * another hour at each site, so it is refused.
 */

import { type CsvError, parse } from "csv-parse/sync";
import { maxScheduleSlots } from "../../src/predict/index.ts";
import { OperationError } from "../errors.ts";

/** A table that was read. */
export interface CostTable {
  /** When the first slot begins, in milliseconds since 1970. */
  readonly startMs: number;
  readonly slotMs: number;
  /** Costs of the slots, by site. */
  readonly costs: ReadonlyMap<string, readonly number[]>;
}

const timePattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})$/;
const numberPattern = /^-?\d+(\.\d+)?(e-?\d+)?$/i;

interface Line {
  /** Line in the file, from 1. */
  readonly number: number;
  readonly fields: readonly string[];
}

/** Reads a table. `name` is the file's, for errors. Throws OperationError "usage" that names the line. */
export function parseCostTable(text: string, name: string): CostTable {
  const [header, ...lines] = readLines(text, name);
  const fail = (line: Line | undefined, what: string): never => {
    throw new OperationError("usage", `Cannot use ${name}${line ? `, line ${line.number}` : ""}: ${what}`);
  };
  if (header === undefined) return fail(undefined, "it is empty");
  const [first, ...sites] = header.fields;
  if (first !== "time") fail(header, `the first column must be 'time', not ${JSON.stringify(first)}`);
  if (sites.length === 0) fail(header, "a column for each site must follow 'time'");
  if (new Set(sites).size !== sites.length) fail(header, "a site has two columns");
  if (lines.length < 2) fail(undefined, "at least two times are needed: the second one ends the first slot");
  if (lines.length > maxScheduleSlots)
    fail(undefined, `${lines.length} times exceed the limit of ${maxScheduleSlots}`);
  const costs = new Map(sites.map((site) => [site, [] as number[]]));
  const times = lines.map((line) => {
    if (line.fields.length !== sites.length + 1)
      fail(line, `${sites.length + 1} fields expected, got ${line.fields.length}`);
    const [time, ...values] = line.fields;
    if (!timePattern.test(time))
      fail(line, `${JSON.stringify(time)} is no time with an offset, such as 2026-03-29T01:00:00+01:00`);
    const at = Date.parse(time);
    if (Number.isNaN(at)) fail(line, `there is no time ${time}`);
    for (const [i, value] of values.entries()) {
      if (!numberPattern.test(value))
        fail(line, `the cost at ${sites[i]} must be a number, not ${JSON.stringify(value)}`);
      costs.get(sites[i])?.push(Number(value));
    }
    return at;
  });
  const [startMs] = times;
  const slotMs = times[1] - startMs;
  for (let i = 1; i < times.length; i++) {
    const step = times[i] - times[i - 1];
    if (step <= 0)
      fail(lines[i], "its time is not after that of the line before: are offsets from UTC right?");
    if (step !== slotMs)
      fail(
        lines[i],
        `${step / 60_000} minutes after the line before, where slots have ${slotMs / 60_000}: a gap, or a wrong offset`,
      );
  }
  return { startMs, slotMs, costs };
}

/** Records with their lines; comments and empty lines are left out. */
function readLines(text: string, name: string): Line[] {
  try {
    const options = { bom: true, comment: "#", relax_column_count: true, skip_empty_lines: true, trim: true };
    // The types do not know what `info` changes.
    const parsed: unknown = parse(text, { ...options, info: true });
    const records = parsed as { record: string[]; info: { lines: number } }[];
    return records.map(({ record, info }) => ({ number: info.lines, fields: record }));
  } catch (error) {
    throw new OperationError("usage", `Cannot read ${name} as CSV: ${(error as CsvError).message}`, {
      cause: error,
    });
  }
}
