/**
 * What the results of a matrix say: each leg of ours as ratios to QEMU's variants on the same link with the same guest,
 * growth with the guest's memory, and whether the targets are kept.
 */

import {
  type Cell,
  type LinkShape,
  linkName,
  type Method,
  type OwnMode,
  qemuVariants,
  type Work,
  workLabels,
} from "./matrix-cells.ts";
import { cpuOf, type Measured, memoryOf, middleRun } from "./measured.ts";

/** A cell with what was measured. */
export interface CellRuns {
  readonly cell: Cell;
  readonly runs: readonly Measured[];
}

/** One figure as parts of another one's; null where one of them is missing or 0. */
export type Ratio = number | null;

/** A leg of ours beside one of QEMU's variants. */
export interface Comparison {
  readonly mode: OwnMode;
  readonly work: Work;
  readonly memoryMiB: number;
  readonly link: string;
  readonly variant: Method;
  readonly time: Ratio;
  readonly downtime: Ratio;
  readonly wire: Ratio;
  readonly cpu: Ratio;
  readonly memory: Ratio;
}

/** How legs with the same changes grow with the guest's memory: largest size over smallest. */
export interface Growth {
  readonly method: Method;
  readonly work: Work | null;
  readonly link: string;
  readonly sizesMiB: readonly number[];
  readonly totalMs: readonly number[];
  readonly wireBytes: readonly number[];
  readonly sizeRatio: number;
  readonly timeRatio: Ratio;
  readonly wireRatio: Ratio;
}

/** A target, and whether it is kept. */
export interface Verdict {
  readonly target: string;
  /** Which cells it is about. */
  readonly where: string;
  readonly figure: number;
  readonly limit: number;
  readonly unit: "ms" | "bytes" | "times";
  readonly kept: boolean;
}

/** What still counts as flat, from the smallest to the largest guest. */
const flatTimes = 1.25;
/** Works that change the same, whatever the guest's size. */
const fixedWorks: readonly Work[] = ["idle", "8mib"];
/** The link that the targets for an idle return name, in Mbit/s. */
const targetMegabits = 100;
/** What a downtime may exceed QEMU's by, beside two round trips, in milliseconds. */
const downtimeSlackMs = 50;
const idleOverPlain = 0.01;
const idleOverBest = 0.03;
const idleFloorMs = 500;

/** Each leg of ours beside each of QEMU's variants that was measured. */
export function compare(results: readonly CellRuns[]): Comparison[] {
  return ours(results).flatMap(({ cell, runs, mode, work }) =>
    baselinesFor(results, cell).map(({ variant, runs: theirs }) => {
      const [one, other] = [middleRun(runs), middleRun(theirs)];
      return {
        mode,
        work,
        memoryMiB: cell.memoryMiB,
        link: linkName(cell.link),
        variant,
        time: ratio(one.totalMs, other.totalMs),
        downtime: ratio(one.downtimeMs, other.downtimeMs),
        wire: ratio(one.wireBytes, other.wireBytes),
        cpu: ratio(cpuOf(one), cpuOf(other)),
        memory: ratio(memoryOf(one), memoryOf(other)),
      };
    }),
  );
}

/** Growth for each method and link that was measured with two sizes or more, with changes that do not grow. */
export function growth(results: readonly CellRuns[]): Growth[] {
  const rows = new Map<string, CellRuns[]>();
  for (const one of results) {
    const { method, work, link } = one.cell;
    if (one.runs.length === 0 || (work !== null && !fixedWorks.includes(work))) continue;
    const name = `${method} ${work} ${linkName(link)}`;
    rows.set(name, [...(rows.get(name) ?? []), one]);
  }
  return [...rows.values()].flatMap((row) => {
    const bySize = [...row].sort((a, b) => a.cell.memoryMiB - b.cell.memoryMiB);
    const [small, large] = [bySize[0], bySize.at(-1)];
    if (small === undefined || large === undefined || small === large) return [];
    const middles = bySize.map(({ runs }) => middleRun(runs));
    const [first, last] = [middleRun(small.runs), middleRun(large.runs)];
    return [
      {
        method: small.cell.method,
        work: small.cell.work,
        link: linkName(small.cell.link),
        sizesMiB: bySize.map(({ cell }) => cell.memoryMiB),
        totalMs: middles.map(({ totalMs }) => totalMs),
        wireBytes: middles.map(({ wireBytes }) => wireBytes),
        sizeRatio: large.cell.memoryMiB / small.cell.memoryMiB,
        timeRatio: ratio(last.totalMs, first.totalMs),
        wireRatio: ratio(last.wireBytes, first.wireBytes),
      },
    ];
  });
}

/** All targets for which there are figures. A downtime counts at its worst run, times at the middle one. */
export function verdicts(results: readonly CellRuns[]): Verdict[] {
  return [...legVerdicts(results), ...flatVerdicts(results)];
}

function flatVerdicts(results: readonly CellRuns[]): Verdict[] {
  return growth(results)
    .filter(({ method, work }) => method === "standing" && work === "8mib")
    .flatMap(({ work, link, sizesMiB, timeRatio, wireRatio }) => {
      const where = `standing, ${workLabels[work as Work]}, ${sizesMiB.join(" to ")} MiB, ${link}`;
      const parts = { time: timeRatio, bytes: wireRatio };
      return Object.entries(parts).flatMap(([what, figure]): Verdict[] => {
        if (figure === null) return [];
        const target = `flat with a standing bitmap: ${what}`;
        return [{ target, where, figure, limit: flatTimes, unit: "times", kept: figure <= flatTimes }];
      });
    });
}

function legVerdicts(results: readonly CellRuns[]): Verdict[] {
  return ours(results).flatMap(({ cell, runs, mode, work }) => {
    const baselines = baselinesFor(results, cell);
    if (baselines.length === 0) return [];
    const shape = `${cell.content}, ${cell.memoryMiB} MiB, ${linkName(cell.link)}`;
    const where = `${mode}, ${workLabels[work]}, ${shape}`;
    const totalMs = middleRun(runs).totalMs;
    const best = Math.min(...baselines.map(({ runs: theirs }) => middleRun(theirs).totalMs));
    const downtimeMs = Math.max(...runs.map((run) => run.downtimeMs));
    const theirDowntimeMs = Math.min(...baselines.map(({ runs: theirs }) => middleRun(theirs).downtimeMs));
    const found = [
      verdict(
        "downtime ≤ QEMU's least + 2 RTT + 50 ms",
        where,
        downtimeMs,
        theirDowntimeMs + 2 * cell.link.rttMs + downtimeSlackMs,
      ),
    ];
    if (work === "first") found.push(verdict("first leg ≤ QEMU's best", where, totalMs, best));
    if (cell.content === "linux") {
      const zstd = baselines.find(({ variant }) => variant === "multifd-zstd");
      if (work === "first" && zstd !== undefined) {
        const [one, other] = [middleRun(runs).wireBytes, middleRun(zstd.runs).wireBytes];
        const target = "first leg of Linux < multifd with zstd";
        found.push({ target, where, figure: one, limit: other, unit: "bytes", kept: one < other });
      }
      return found;
    }
    if (work === "idle" && cell.link.megabitsPerSecond === targetMegabits) {
      const plain = baselines.find(({ variant }) => variant === "plain");
      if (plain !== undefined) {
        const limit = idleOverPlain * middleRun(plain.runs).totalMs;
        found.push(verdict("idle return ≤ 1 % of plain's time", where, totalMs, limit));
      }
      const limit = Math.max(idleOverBest * best, idleFloorMs);
      found.push(verdict("idle return ≤ 3 % of QEMU's best, or 0.5 s", where, totalMs, limit));
    }
    return found;
  });
}

/** How many times zstd makes the guests' content smaller, as QEMU's own multifd shows; null without both figures. */
export function zstdRatio(results: readonly CellRuns[]): Ratio {
  for (const { cell, runs } of results) {
    if (cell.method !== "multifd-zstd" || runs.length === 0) continue;
    const plain = baselinesFor(results, cell).find(({ variant }) => variant === "plain");
    if (plain !== undefined) return ratio(middleRun(plain.runs).wireBytes, middleRun(runs).wireBytes);
  }
  return null;
}

/** A target that is a time. */
function verdict(target: string, where: string, figure: number, limit: number): Verdict {
  return { target, where, figure, limit, unit: "ms", kept: figure <= limit };
}

/** One figure over another; null unless both are known and the second is not 0. */
export function ratio(figure: number | null, of: number | null): Ratio {
  return figure === null || of === null || of === 0 ? null : figure / of;
}

function ours(results: readonly CellRuns[]) {
  return results.flatMap(({ cell, runs }) => {
    const { method, work } = cell;
    if (work === null || runs.length === 0) return [];
    return [{ cell, runs, mode: method as OwnMode, work }];
  });
}

function baselinesFor(results: readonly CellRuns[], { memoryMiB, link, content }: Cell) {
  return qemuVariants.flatMap((variant) => {
    const found = results.find(
      ({ cell, runs }) =>
        cell.method === variant &&
        cell.memoryMiB === memoryMiB &&
        isSameLink(cell.link, link) &&
        cell.content === content &&
        runs.length > 0,
    );
    return found === undefined ? [] : [{ variant, runs: found.runs }];
  });
}

function isSameLink(one: LinkShape, other: LinkShape): boolean {
  return linkName(one) === linkName(other);
}
