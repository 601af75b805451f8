/** Runs that may be compared: put together by situation, and in it by method. What did not converge is counted apart. */

import { type ExperimentRecord, methods, workloads } from "../record.ts";
import { type Summary, summarise } from "./statistics.ts";

/** What is the same for all methods that are compared. */
export type Situation = Pick<
  ExperimentRecord,
  "workload" | "dirtyPagesPerSecond" | "memoryBytes" | "age" | "diskBytes" | "link" | "qemuVersion"
>;

/** Repeats of one method in one situation. Summaries are of the runs that converged. */
export interface Group {
  readonly situation: Situation;
  readonly method: ExperimentRecord["method"];
  /** Of returns: the time away that these runs stand for, the median of theirs and of all that are about as long. */
  readonly awayMs: number | null;
  readonly converged: readonly ExperimentRecord[];
  readonly diverged: readonly ExperimentRecord[];
  readonly totalMs: Summary | null;
  readonly downtimeMs: Summary | null;
  readonly gapMs: Summary | null;
  readonly wireBytes: Summary | null;
}

/** A situation with what was measured in it. */
export interface SituationGroups {
  readonly situation: Situation;
  readonly groups: readonly Group[];
}

/** Times away that differ by no more than this factor are the same one: a guest is never away to the millisecond. */
const sameAwayFactor = 1.1;

/** All situations, ordered by workload, guest and link; in them the methods in their order, returns by time away. */
export function groupRuns(records: readonly ExperimentRecord[]): SituationGroups[] {
  const nominal = nominalAway(records.flatMap(({ awayMs }) => (awayMs === null ? [] : [awayMs])));
  const bySituation = collect(records, (record) => JSON.stringify(situationOf(record)));
  return bySituation
    .map((runs) => {
      const situation = situationOf(runs[0]);
      const away = ({ awayMs }: ExperimentRecord) => (awayMs === null ? null : nominal(awayMs));
      const groups = collect(runs, (run) => `${run.method} ${away(run)}`)
        .map((repeats) => groupOf(situation, away(repeats[0]), repeats))
        .sort(
          (a, b) =>
            methods.indexOf(a.method) - methods.indexOf(b.method) || (a.awayMs ?? 0) - (b.awayMs ?? 0),
        );
      return { situation, groups };
    })
    .sort((a, b) => compareSituations(a.situation, b.situation));
}

/** Puts what has the same key together, in the order in which keys first come. */
export function collect<T>(all: readonly T[], key: (one: T) => string): [T, ...T[]][] {
  const found = new Map<string, [T, ...T[]]>();
  for (const one of all) {
    const name = key(one);
    const group = found.get(name);
    if (group === undefined) found.set(name, [one]);
    else group.push(one);
  }
  return [...found.values()];
}

/** Whether there are runs of more than one QEMU, which are then told apart. */
export function hasSeveralVersions(situations: readonly SituationGroups[]): boolean {
  return new Set(situations.map(({ situation }) => situation.qemuVersion)).size > 1;
}

/** The order in which situations are told. */
export function compareSituations(a: Situation, b: Situation): number {
  return (
    workloads.indexOf(a.workload) - workloads.indexOf(b.workload) ||
    (a.dirtyPagesPerSecond ?? 0) - (b.dirtyPagesPerSecond ?? 0) ||
    a.memoryBytes - b.memoryBytes ||
    b.age.localeCompare(a.age) ||
    a.diskBytes - b.diskBytes ||
    a.link.bitsPerSecond - b.link.bitsPerSecond ||
    a.link.rttMs - b.link.rttMs ||
    a.qemuVersion.localeCompare(b.qemuVersion)
  );
}

function situationOf(record: ExperimentRecord): Situation {
  const { workload, dirtyPagesPerSecond, memoryBytes, age, diskBytes, qemuVersion } = record;
  const { bitsPerSecond, rttMs } = record.link;
  return {
    workload,
    dirtyPagesPerSecond,
    memoryBytes,
    age,
    diskBytes,
    link: { bitsPerSecond, rttMs },
    qemuVersion,
  };
}

function groupOf(
  situation: Situation,
  awayMs: number | null,
  runs: readonly [ExperimentRecord, ...ExperimentRecord[]],
): Group {
  const converged = runs.filter((run) => run.converged);
  const figures = (of: (run: ExperimentRecord) => number | null) =>
    summarise(converged.map(of).filter((figure) => figure !== null));
  return {
    situation,
    method: runs[0].method,
    awayMs,
    converged,
    diverged: runs.filter((run) => !run.converged),
    totalMs: figures(({ totalMs }) => totalMs),
    downtimeMs: figures(({ downtimeMs }) => downtimeMs),
    gapMs: figures(({ gapMs }) => gapMs),
    wireBytes: figures(({ wireBytes }) => wireBytes),
  };
}

/** What time away each one stands for. */
function nominalAway(times: readonly number[]): (awayMs: number) => number {
  const clusters: number[][] = [];
  for (const time of [...times].sort((a, b) => a - b)) {
    const last = clusters.at(-1);
    if (last?.[0] !== undefined && time <= last[0] * sameAwayFactor) last.push(time);
    else clusters.push([time]);
  }
  const nominal = new Map(
    clusters.flatMap((cluster) => cluster.map((time) => [time, summarise(cluster)?.median ?? time])),
  );
  return (awayMs) => nominal.get(awayMs) ?? awayMs;
}
