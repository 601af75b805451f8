/** The matrix for people: tables of figures and ratios, growth, targets. */

import { type Cell, cellName, isQemuVariant, linkName, workLabels } from "./matrix-cells.ts";
import { type CellRuns, compare, type Growth, growth, type Ratio, type Verdict } from "./matrix-summary.ts";
import { cpuOf, type Measured, memoryOf, middleRun } from "./measured.ts";

const mebibyte = 2 ** 20;

/** A table for each size and link: every method with its figures, and those of ours as parts of QEMU's variants. */
export function figureTables(results: readonly CellRuns[]): string {
  const groups = new Map<string, CellRuns[]>();
  for (const one of results) {
    const { memoryMiB, link, content } = one.cell;
    const name = `${memoryMiB} MiB, ${linkName(link)} (Mbit/s, ms RTT), ${content}`;
    groups.set(name, [...(groups.get(name) ?? []), one]);
  }
  return [...groups].map(([name, group]) => `${name}\n${figureTable(group)}`).join("\n\n");
}

function figureTable(group: readonly CellRuns[]): string {
  const rows = group.map(({ cell, runs }) => {
    const name = cell.work === null ? cell.method : `${cell.method}, ${workLabels[cell.work]}`;
    if (runs.length === 0) return [name, "not measured"];
    const one = middleRun(runs);
    return [
      name + fallbackOf(cell, runs),
      milliseconds(one.totalMs),
      milliseconds(one.downtimeMs),
      megabytes(one.wireBytes),
      isQemuVariant(cell.method) ? "-" : one.agentCpuSeconds.toFixed(2),
      cpuOf(one).toFixed(2),
      isQemuVariant(cell.method) ? "-" : mib(one.agentMemoryBytes),
      mib(memoryOf(one)),
    ];
  });
  const head = ["", "time", "downtime", "wire", "agents' CPU s", "CPU s", "agents' memory", "memory"];
  const ratios = compare(group).map((one) => [
    `${one.mode}, ${workLabels[one.work]} / ${one.variant}`,
    ...[one.time, one.downtime, one.wire].map(parts),
    "",
    parts(one.cpu),
    "",
    parts(one.memory),
  ]);
  return columns([head, ...rows, ...ratios]);
}

/** Told where a return leg could not begin as its mode says. */
function fallbackOf({ method, work }: Cell, runs: readonly Measured[]): string {
  if (work === null || work === "first") return "";
  const others = runs.flatMap(({ tracking }) => (tracking === null || tracking === method ? [] : [tracking]));
  return others.length === 0 ? "" : ` (${others.length} of ${runs.length} by ${others[0]})`;
}

/** Legs whose changes do not depend on the guest's size, over sizes. */
export function growthTable(rows: readonly Growth[]): string {
  if (rows.length === 0) return "growth: two sizes on the same link are needed";
  const head = [
    "growth with the guest's memory",
    "sizes MiB",
    "time ms",
    "wire MB",
    "memory ×",
    "time ×",
    "wire ×",
  ];
  const lines = rows.map((row) => [
    `${row.method}${row.work === null ? "" : `, ${workLabels[row.work]}`}, ${row.link}`,
    row.sizesMiB.join(" "),
    row.totalMs.join(" "),
    row.wireBytes.map((bytes) => megabytes(bytes).replace(" MB", "")).join(" "),
    row.sizeRatio.toFixed(1),
    times(row.timeRatio),
    times(row.wireRatio),
  ]);
  return columns([head, ...lines]);
}

/** Every target with figure and limit. */
export function targetTable(found: readonly Verdict[]): string {
  const amounts = { ms: milliseconds, bytes: megabytes, times: (value: number) => `${times(value)} ×` };
  const amount = (value: number, unit: Verdict["unit"]) => amounts[unit](value);
  const lines = found.map(({ target, where, figure, limit, unit, kept }) => [
    kept ? "kept" : "NOT KEPT",
    target,
    where,
    amount(figure, unit),
    `limit ${amount(limit, unit)}`,
  ]);
  const kept = found.filter((one) => one.kept).length;
  return `${columns(lines, 3)}\ntargets kept: ${kept} of ${found.length}`;
}

/** What was measured, on what, and what the columns mean. */
export function contentText(report: {
  readonly machine: string;
  readonly commit: string | null;
  readonly downtimeLimitMs: number;
  readonly content: {
    readonly name: string;
    readonly filledShare?: number;
    readonly lz4Ratio?: number;
    readonly zstdRatio: Ratio;
  };
}): string {
  const { name, filledShare, lz4Ratio, zstdRatio } = report.content;
  const made = [
    ...(filledShare === undefined ? [] : [`${Math.round(100 * filledShare)} % of memory is not zero`]),
    ...(lz4Ratio === undefined ? [] : [`LZ4 makes it ${times(lz4Ratio)} times smaller`]),
    `QEMU's zstd ${zstdRatio === null ? "was not measured" : `${times(zstdRatio)} times`}`,
  ];
  return [
    `machine: ${report.machine}; commit ${report.commit ?? "unknown"}; downtime limit ${report.downtimeLimitMs} ms`,
    `content: ${name}; ${made.join("; ")}`,
    "time: from the command to the destination's RESUME; downtime: from the source's STOP to it, one clock for all",
    "wire: payload of TCP, both directions. CPU: agents until they are quiet again, and both QEMUs beside the idle guest",
    "memory: peaks of both agents, and both QEMUs beside the guest's memory",
  ].join("\n");
}

/** Figures, growth, and what was not measured. */
export function matrixText(results: readonly CellRuns[]): string {
  const missing = results.filter(({ runs }) => runs.length === 0).map(({ cell }) => cellName(cell));
  return [
    figureTables(results),
    growthTable(growth(results)),
    ...(missing.length === 0 ? [] : [`not measured: ${missing.join(", ")}`]),
  ].join("\n\n");
}

/** Cells of each column padded to the same width; from column `numbers` on to the right. */
export function columns(rows: readonly (readonly string[])[], numbers = 1): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, text] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, text.length);
  }
  return rows
    .map((row) =>
      row.map((text, i) => (i < numbers ? text.padEnd(widths[i]!) : text.padStart(widths[i]!))).join("  "),
    )
    .map((line) => line.trimEnd())
    .join("\n");
}

function milliseconds(value: number): string {
  return `${Math.round(value)} ms`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 3 : 1)} MB`;
}

function mib(bytes: number | null): string {
  return bytes === null ? "?" : `${Math.round(bytes / mebibyte)} MiB`;
}

/** Small ratios need more digits to say anything. */
function parts(value: Ratio): string {
  return value === null ? "?" : `${(100 * value).toFixed(value < 0.1 ? 2 : 1)} %`;
}

function times(value: Ratio): string {
  return value === null ? "?" : value.toFixed(2);
}
