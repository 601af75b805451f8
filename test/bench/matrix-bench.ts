/**
 * The matrix: QEMU's own pre-copy in its variants and ours, over the same emulated links with guests of several sizes.
 * Cells whose result is in the folder already are not measured again. A run that fails is told, and the others go on.
 */

import { fillPage, firstFilledPage, type GuestContent } from "../../cli/demo/guest.ts";
import { messageOf } from "../../cli/errors.ts";
import { probeQemu } from "../../cli/qemu/probe.ts";
import { loadCore } from "../../src/core.ts";
import { limited } from "./abortable.ts";
import {
  type Cell,
  cellName,
  cellsOf,
  downtimeLimitMs,
  filledShare,
  isQemuVariant,
  linkName,
  type Plan,
} from "./matrix-cells.ts";
import { estimateSeconds } from "./matrix-estimate.ts";
import { runSeries, seriesName, seriesOf } from "./matrix-series.ts";
import { type CellRuns, compare, growth, verdicts, zstdRatio } from "./matrix-summary.ts";
import { machine } from "./measure.ts";
import type { CellResult, Measured } from "./measured.ts";
import { baselineDigest, commit, ownDigest } from "./program-digest.ts";
import type { ResultKey, ResultStore } from "./result-store.ts";

/** A series that takes so many times what is expected, and at least so long, hangs. */
const patience = { factor: 10, seconds: 900 };

/** A cell that could not be measured. */
export interface CellFailure {
  readonly cell: string;
  readonly reason: string;
}

/** What a run of the matrix found. */
export interface MatrixOutcome {
  readonly results: readonly CellRuns[];
  readonly failures: readonly CellFailure[];
}

/** Where a matrix is run. */
export interface MatrixContext {
  readonly store: ResultStore<CellResult>;
  readonly qemuBinary: string;
  readonly tell: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Runs what is not in the store yet. Throws the signal's reason when it is raised. */
export async function runMatrix(plan: Plan, context: MatrixContext): Promise<MatrixOutcome> {
  const { store, tell, signal } = context;
  const keyOf = await resultKeys(context.qemuBinary);
  const cells = cellsOf(plan);
  const measured = new Map<Cell, readonly Measured[]>();
  for (const cell of cells) {
    const stored = store.read(cellName(cell), keyOf(cell));
    if (stored !== null && stored.runs.length >= cell.runs) measured.set(cell, stored.runs);
  }
  const series = seriesOf(cells.filter((cell) => !measured.has(cell)));
  const expected = series.reduce((sum, group) => sum + estimateSeconds(group), 0);
  tell(`${measured.size} of ${cells.length} cells are in ${store.folder}`);
  if (series.length > 0) tell(`the others take about ${Math.ceil(expected / 60)} min on an idle machine`);
  const failures: CellFailure[] = [];
  const startMs = performance.now();
  for (const [i, group] of series.entries()) {
    const keep = (cell: Cell, runs: readonly Measured[], load: number) => {
      const result = { runs, machine, load, atTime: new Date().toISOString() };
      store.write(cellName(cell), keyOf(cell), result);
      measured.set(cell, runs);
    };
    tell(`series ${i + 1} of ${series.length}: ${seriesName(group)}`);
    const limit = limited(signal, Math.max(patience.seconds, patience.factor * estimateSeconds(group)));
    try {
      await runSeries(group, { ...context, keep, signal: limit.signal });
    } catch (error) {
      signal.throwIfAborted();
      const reason = messageOf(error);
      tell(`it failed: ${reason}`);
      failures.push(
        ...group.filter((cell) => !measured.has(cell)).map((cell) => ({ cell: cellName(cell), reason })),
      );
    } finally {
      limit.end();
    }
  }
  if (series.length > 0) tell(`took ${((performance.now() - startMs) / 60_000).toFixed(1)} min`);
  return { results: cells.map((cell) => ({ cell, runs: measured.get(cell) ?? [] })), failures };
}

/** All that is known of a matrix, as JSON has it. */
export async function matrixReport({ content }: Plan, { results, failures }: MatrixOutcome) {
  return {
    machine,
    commit: commit(),
    downtimeLimitMs,
    content: {
      name: content,
      ...(content !== "linux" && { filledShare, lz4Ratio: await lz4Ratio(content) }),
      zstdRatio: zstdRatio(results),
    },
    cells: results.map(({ cell, runs }) => ({
      name: cellName(cell),
      ...cell,
      link: linkName(cell.link),
      measured: runs,
    })),
    comparisons: compare(results),
    growth: growth(results),
    targets: verdicts(results),
    failures,
  };
}

/** What the result of a cell depends on. */
export async function resultKeys(qemuBinary: string): Promise<(cell: Cell) => ResultKey> {
  const { version } = await probeQemu(qemuBinary);
  const [own, baseline] = [ownDigest(), baselineDigest()];
  // A result of more runs than are wanted is as good.
  return ({ runs: _runs, ...cell }) => ({
    ...cell,
    downtimeLimitMs,
    filledShare,
    qemu: version.join("."),
    program: isQemuVariant(cell.method) ? baseline : own,
  });
}

/** How many times LZ4 makes the content smaller, in blocks of 64 KiB. */
async function lz4Ratio(content: GuestContent): Promise<number> {
  const core = await loadCore();
  const [blockBytes, blocks] = [64 * 1024, 64];
  const bound = core.raw.lz4Bound(blockBytes);
  const at = core.allocate(blockBytes + bound);
  let packed = 0;
  for (let block = 0; block < blocks; block++) {
    for (let i = 0; i < 16; i++)
      core.bytes().set(fillPage(firstFilledPage + block * 16 + i, 0, content), at + i * 4096);
    packed += core.raw.lz4Compress(at, blockBytes, at + blockBytes, bound);
  }
  return (blocks * blockBytes) / packed;
}
