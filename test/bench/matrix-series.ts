/** Runs the cells of the matrix that one guest serves. */

import { loadavg } from "node:os";
import { makeGuestBed } from "./guest-bed.ts";
import { runLegSeries, type SeriesLeg } from "./leg-series.ts";
import { type Cell, isQemuVariant, linkName, rewrittenPages, type Work } from "./matrix-cells.ts";
import type { Measured } from "./measured.ts";
import { runQemuSeries } from "./qemu-series.ts";

/** Where a series is run. */
export interface SeriesContext {
  readonly qemuBinary: string;
  readonly tell: (text: string) => void;
  /** Called once for each cell; `load`: the machine's when it began. */
  readonly keep: (cell: Cell, runs: readonly Measured[], load: number) => void;
  readonly signal: AbortSignal;
}

/** Cells that one guest serves: QEMU's variants together, each mode of ours with its legs. */
export function seriesOf(cells: readonly Cell[]): Cell[][] {
  const series = new Map<string, Cell[]>();
  for (const cell of cells) {
    const { method, memoryMiB, link, content } = cell;
    const kind = isQemuVariant(method) ? "qemu" : method;
    const name = `${content} ${memoryMiB} ${linkName(link)} ${kind}`;
    series.set(name, [...(series.get(name) ?? []), cell]);
  }
  return [...series.values()];
}

/** What a series is, for people. */
export function seriesName(series: readonly Cell[]): string {
  const { memoryMiB, link, work, method, content } = series[0] as Cell;
  const what =
    work === null ? series.map((cell) => cell.method) : [method, ...series.map((cell) => cell.work)];
  return `${content}, ${memoryMiB} MiB, ${linkName(link)}: ${what.join(" ")}`;
}

/** Runs a series. Throws OperationError, or the signal's reason. */
export async function runSeries(series: readonly Cell[], context: SeriesContext): Promise<void> {
  const [cell] = series as [Cell];
  const bed = await makeGuestBed(cell, context.qemuBinary);
  const { testbed, booted } = bed;
  const { signal } = context;
  try {
    if (isQemuVariant(cell.method)) {
      const watch = new CellWatch(context);
      await runQemuSeries({
        testbed,
        variants: series.flatMap(({ method }) => (isQemuVariant(method) ? [method] : [])),
        booted,
        onRun: (variant) => watch.begin(variant),
        onResult: (variant, measured) => {
          watch.end(variant, measured);
          context.keep(series.find(({ method }) => method === variant) as Cell, [measured], watch.load);
        },
        signal,
      });
    } else {
      await runLegSeries({
        testbed,
        mode: cell.method,
        legs: legsOf(series, bed.rewrite, context),
        booted,
        signal,
      });
    }
  } finally {
    await bed.close();
  }
}

/** The first leg is made whether its result is wanted or not: it is what the others return from. */
function legsOf(
  series: readonly Cell[],
  rewrite: (consolePath: string, pages: number) => Promise<void>,
  context: SeriesContext,
): SeriesLeg[] {
  const [{ memoryMiB }] = series as [Cell];
  const legsFor = (work: Work, cell: Cell | undefined): SeriesLeg[] => {
    const watch = new CellWatch(context);
    const runs: Measured[] = [];
    const pages = rewrittenPages(work, memoryMiB);
    const leg: SeriesLeg = {
      prepare: pages === 0 ? null : (consolePath) => rewrite(consolePath, pages),
      onRun: () => watch.begin(work),
      onResult: (measured) => {
        watch.end(work, measured);
        runs.push(measured);
        if (cell !== undefined && runs.length === cell.runs) context.keep(cell, runs, watch.load);
      },
    };
    return Array.from({ length: cell?.runs ?? 1 }, () => leg);
  };
  const first = series.find(({ work }) => work === "first");
  const returns = series.filter(({ work }) => work !== "first");
  return [...legsFor("first", first), ...returns.flatMap((cell) => legsFor(cell.work as Work, cell))];
}

/** Tells of runs as they come. */
class CellWatch {
  /** The machine's load when the first run began. */
  load = 0;
  private isBegun = false;
  private readonly context: SeriesContext;

  constructor(context: SeriesContext) {
    this.context = context;
  }

  begin(name: string): void {
    if (!this.isBegun) this.load = loadavg()[0] ?? 0;
    this.isBegun = true;
    this.context.tell(`  ${name} …`);
  }

  end(name: string, { totalMs, downtimeMs, wireBytes }: Measured): void {
    this.context.tell(`  ${name}: ${totalMs} ms, down ${downtimeMs} ms, ${(wireBytes / 1e6).toFixed(1)} MB`);
  }
}
