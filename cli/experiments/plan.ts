/**
 * Which runs there are to be made: each moves one guest with one method over one link. Those that one booted guest serves
 * are a session: QEMU's methods over all links, one after the other; or ours over one link, the first leg and then the
 * ways back, since a first leg needs a site that has nothing of the guest yet. Ways back with a standing migration are a
 * session of their own, as a VM has one or has none.
 */

import type { ExperimentRecord, methods, workloads } from "./record.ts";

const mebibyte = 2 ** 20;

export type Workload = (typeof workloads)[number];
export type Method = (typeof methods)[number];
export type Age = ExperimentRecord["age"];
/** All of them. */
export const guestAges: readonly Age[] = ["fresh", "aged"];
export type LinkShape = ExperimentRecord["link"];

/** One run to be made. */
export interface Experiment {
  readonly workload: Workload;
  /** Null for all but the dirtier. */
  readonly dirtyPagesPerSecond: number | null;
  readonly memoryMiB: number;
  readonly age: Age;
  readonly link: LinkShape;
  readonly method: Method;
  /** How long the guest works before this leg where it has come to; null unless the method is a way back. */
  readonly awayMs: number | null;
  /** Counted from 1. */
  readonly repeat: number;
}

/** Runs with one booted guest, in the order in which they are made. */
export interface Session {
  /** All runs of the session, those that were made before among them. */
  readonly experiments: readonly Experiment[];
}

/** What is wanted; null: all that the plan has. */
export interface PlanOptions {
  readonly quick: boolean;
  readonly workloads: readonly Workload[] | null;
  readonly links: readonly LinkShape[] | null;
  readonly methods: readonly Method[] | null;
  /** Of the guests that there are only those; null: all. */
  readonly memoriesMiB: readonly number[] | null;
  readonly ages: readonly Age[] | null;
  /** Times away before ways back, instead of those that a plan has; null: those. */
  readonly awaysMs: readonly number[] | null;
  readonly repeats: number;
}

/** A guest and how it is moved. */
interface Cell {
  readonly workload: Workload;
  readonly dirtyPagesPerSecond?: number;
  readonly memoryMiB: number;
  readonly age: Age;
  readonly links: readonly LinkShape[];
  readonly methods: readonly Method[];
  readonly awaysMs: readonly number[];
}

const slow: LinkShape = { bitsPerSecond: 50e6, rttMs: 200 };
const middle: LinkShape = { bitsPerSecond: 100e6, rttMs: 40 };
const fast: LinkShape = { bitsPerSecond: 1000e6, rttMs: 10 };

const scanMethods = ["precopy", "xbzrle", "multifd-zstd", "bfmig-first", "bfmig-return"] as const;
const allMethods = [...scanMethods, "bfmig-standing"] as const;
const fewMethods = ["precopy", "multifd-zstd", "bfmig-first", "bfmig-return"] as const;
const fullAwaysMs = [10_000, 60_000, 300_000];
/** Of the links between the sizes: that the targets name comes first. */
const fullLinks = [middle, slow, fast];

const large = {
  memoryMiB: 1024,
  age: "aged",
  links: fullLinks,
  methods: scanMethods,
  awaysMs: fullAwaysMs,
} as const;
const fullCells: readonly Cell[] = [
  { ...large, workload: "idle", methods: allMethods },
  { ...large, workload: "web", methods: allMethods },
  { ...large, workload: "redis", methods: allMethods },
  { ...large, workload: "postgres" },
  { ...large, workload: "compile" },
  ...[500, 2000, 8000].map(
    (dirtyPagesPerSecond): Cell => ({ ...large, workload: "dirtier", dirtyPagesPerSecond }),
  ),
  // Time over the size of the memory, and what ageing does.
  ...([256, 512] as const).map(
    (memoryMiB): Cell => ({ ...large, workload: "idle", memoryMiB, links: [middle], awaysMs: [10_000] }),
  ),
  { ...large, workload: "idle", age: "fresh", links: [middle] },
  { ...large, workload: "web", age: "fresh", links: [middle] },
];

const small = {
  memoryMiB: 256,
  age: "fresh",
  links: [middle],
  methods: fewMethods,
  awaysMs: [10_000],
} as const;
/** The first ones are those that are made unless others are asked for. */
const quickCells: readonly Cell[] = [
  {
    ...small,
    workload: "idle",
    memoryMiB: 512,
    age: "aged",
    methods: scanMethods,
    awaysMs: [10_000, 30_000],
  },
  { ...small, workload: "idle" },
  { ...small, workload: "redis", memoryMiB: 512, age: "aged", links: [fast] },
  { ...small, workload: "postgres", links: [fast] },
  { ...small, workload: "web", memoryMiB: 512, age: "aged" },
  { ...small, workload: "compile" },
  { ...small, workload: "dirtier", dirtyPagesPerSecond: 500 },
];
const quickCellsByDefault = 4;

/** Whether a method is one of ours. */
export function isOwn(method: Method): boolean {
  return method === "bfmig-first" || isReturn(method);
}

/** Whether a method is a way back to a site that the guest was at before. */
export function isReturn(method: Method): method is "bfmig-return" | "bfmig-standing" {
  return method === "bfmig-return" || method === "bfmig-standing";
}

/** All sessions, whole repeats one after the other: whoever stops early has something of everything. */
export function planSessions(options: PlanOptions): Session[] {
  const cells = chosenCells(options);
  return Array.from({ length: options.repeats }, (_, i) => i + 1).flatMap((repeat) =>
    cells.flatMap((cell) => sessionsOf(cell, repeat)),
  );
}

/** What makes a run the same run. Also of one that was made: of equal keys only one is made. */
export function experimentKey(run: Experiment): string {
  const { workload, dirtyPagesPerSecond, memoryMiB, age, link, method, awayMs, repeat } = run;
  const { bitsPerSecond, rttMs } = link;
  return [workload, dirtyPagesPerSecond, memoryMiB, age, bitsPerSecond, rttMs, method, awayMs, repeat].join(
    " ",
  );
}

/** The run that a record is of. QEMU may have a little less memory than was planned. */
export function experimentOf(record: ExperimentRecord): Experiment {
  const memoryMiB = Math.ceil(record.memoryBytes / mebibyte);
  const { workload, dirtyPagesPerSecond, age, link, method, awayMs, repeat } = record;
  return { workload, dirtyPagesPerSecond, memoryMiB, age, link, method, awayMs, repeat };
}

/** For people. */
export function experimentName(run: Experiment): string {
  const { link, method, awayMs } = run;
  const away = awayMs === null ? "" : ` after ${awayMs / 1000} s`;
  return `${guestLabel(run)}, ${linkLabel(link)}, ${method}${away}`;
}

/** The guest of a run, for people. */
function guestLabel({ workload, dirtyPagesPerSecond, memoryMiB, age }: Experiment): string {
  const rate = dirtyPagesPerSecond === null ? "" : ` ${dirtyPagesPerSecond}/s`;
  return `${workload}${rate}, ${memoryMiB} MiB ${age}`;
}

/** `100/40`: Mbit/s and milliseconds. */
export function linkLabel({ bitsPerSecond, rttMs }: LinkShape): string {
  return `${bitsPerSecond / 1e6}/${rttMs}`;
}

/**
 * Those of a session that are still to be made. After a leg of ours that did not converge nothing is: the guest did not
 * come to where the next one leaves from.
 */
export function missingOf(session: Session, made: ReadonlyMap<string, ExperimentRecord>): Experiment[] {
  const missing: Experiment[] = [];
  for (const experiment of session.experiments) {
    const record = made.get(experimentKey(experiment));
    if (record === undefined) missing.push(experiment);
    else if (!record.converged && isOwn(record.method)) break;
  }
  return missing;
}

function chosenCells({ quick, workloads, links, methods, memoriesMiB, ages, awaysMs }: PlanOptions): Cell[] {
  const all = quick ? quickCells : fullCells;
  const isChosen = workloads !== null || memoriesMiB !== null || ages !== null;
  const chosen = all.filter(
    (cell) =>
      (workloads?.includes(cell.workload) ?? true) &&
      (memoriesMiB?.includes(cell.memoryMiB) ?? true) &&
      (ages?.includes(cell.age) ?? true),
  );
  return (quick && !isChosen ? chosen.slice(0, quickCellsByDefault) : chosen).map((cell) => ({
    ...cell,
    ...(links !== null && { links }),
    ...(methods !== null && { methods }),
    ...(awaysMs !== null && { awaysMs }),
  }));
}

function sessionsOf(cell: Cell, repeat: number): Session[] {
  const { workload, dirtyPagesPerSecond = null, memoryMiB, age, links, methods, awaysMs } = cell;
  const guest = { workload, dirtyPagesPerSecond, memoryMiB, age, repeat };
  const qemu = links.flatMap((link) =>
    methods.filter((method) => !isOwn(method)).map((method) => ({ ...guest, link, method, awayMs: null })),
  );
  const back = (link: LinkShape, method: Method) =>
    methods.includes(method) ? awaysMs.map((awayMs) => ({ ...guest, link, method, awayMs })) : [];
  const first = (link: LinkShape): Experiment[] =>
    methods.includes("bfmig-first") ? [{ ...guest, link, method: "bfmig-first", awayMs: null }] : [];
  const own = links.flatMap((link) => [
    [...first(link), ...back(link, "bfmig-return")],
    back(link, "bfmig-standing"),
  ]);
  return [qemu, ...own].filter((runs) => runs.length > 0).map((experiments) => ({ experiments }));
}
