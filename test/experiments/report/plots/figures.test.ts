/** The figures: which there are, and that their marks are where the figures say. */

import t from "tap";
import { type ExperimentRecord, methods } from "../../../../cli/experiments/record.ts";
import { ageingSeries } from "../../../../cli/experiments/report/ageing-series.ts";
import { groupRuns } from "../../../../cli/experiments/report/groups.ts";
import { ageingPlot } from "../../../../cli/experiments/report/plots/ageing-plot.ts";
import { downtimePlot, wirePlot } from "../../../../cli/experiments/report/plots/amount-plots.ts";
import type { FigureOrReason } from "../../../../cli/experiments/report/plots/figure.ts";
import { methodMark, seriesMark } from "../../../../cli/experiments/report/plots/marks.ts";
import { memoryPlot } from "../../../../cli/experiments/report/plots/memory-plot.ts";
import { predictionPlot } from "../../../../cli/experiments/report/plots/prediction-plot.ts";
import { savingPlot } from "../../../../cli/experiments/report/plots/saving-plot.ts";
import { syntheticRecord, syntheticRecords } from "../synthetic-records.ts";

function figures(records: readonly ExperimentRecord[]): Record<string, FigureOrReason> {
  const situations = groupRuns(records);
  return {
    saving: savingPlot(situations),
    memory: memoryPlot(situations),
    downtime: downtimePlot(situations),
    wire: wirePlot(situations),
    ageing: ageingPlot(ageingSeries(situations), false),
    prediction: predictionPlot(records),
  };
}

const drawn = (all: Record<string, FigureOrReason>) =>
  Object.entries(all).flatMap(([name, figure]) => ("missing" in figure ? [] : [name]));

function panelsOf(figure: FigureOrReason | undefined) {
  if (figure === undefined || "missing" in figure) throw new Error(`not drawn: ${figure?.missing}`);
  return figure.panels;
}

/** Where the marks of a colour are, in units of the SVG: echarts places a symbol by a matrix. */
function marksOf(svg: string, colour: string): { x: number; y: number }[] {
  return [...svg.matchAll(/<path ([^>]*)><\/path>/g)].flatMap(([, attributes = ""]) => {
    const place = /transform="matrix\([^,]+,0,0,[^,]+,([\d.-]+),([\d.-]+)\)"/.exec(attributes);
    return place !== null && attributes.includes(`fill="${colour}"`)
      ? [{ x: Number(place[1]), y: Number(place[2]) }]
      : [];
  });
}

t.test("all figures are drawn from the whole matrix, a panel for each link, guest or size", async (t) => {
  const all = figures(syntheticRecords());
  t.strictSame(drawn(all), ["saving", "memory", "downtime", "wire", "ageing", "prediction"]);
  t.strictSame(
    panelsOf(all["saving"]).map(({ title }) => title),
    ["50 Mbit/s, 200 ms", "100 Mbit/s, 40 ms", "1 Gbit/s, 10 ms"],
  );
  t.equal(panelsOf(all["memory"]).length, 6 * 2 * 3, "workloads, ages, links");
  t.equal(panelsOf(all["ageing"]).length, 3 * 2 * 2, "sizes, ages, with and without a disk");
  t.strictSame(
    panelsOf(all["prediction"]).map(({ title }) => title),
    ["Total time", "Bytes on the wire", "Downtime"],
  );
  for (const figure of Object.values(all)) {
    for (const { title, svg } of panelsOf(figure)) {
      t.match(svg, /^<svg [^>]*viewBox="0 0 380 \d+"/, title);
      t.notMatch(svg, /NaN|Infinity|undefined|https?:|<style|style=/, title);
    }
  }
});

t.test("figures that the runs do not allow are left out with the reason", async (t) => {
  const quick = figures(syntheticRecords({ quick: true }));
  t.strictSame(drawn(quick), ["saving", "downtime", "wire", "prediction"]);
  t.match(quick["memory"], { missing: /no workload ran with two sizes of memory/ });
  t.match(quick["ageing"], { missing: /no guest returned after two different times away/ });
  const one = figures([syntheticRecord()]);
  t.strictSame(drawn(one), ["downtime", "wire"]);
  t.match(one["saving"], { missing: /plain pre-copy and of another method/ });
  t.match(one["prediction"], { missing: /no leg that converged has a prediction/ });
  t.strictSame(drawn(figures([syntheticRecord({ converged: false })])), [], "nothing converged");
  t.strictSame(
    drawn(figures([syntheticRecord({ downtimeMs: 0, totalMs: 0, wireBytes: 0 })])),
    [],
    "all is 0",
  );
});

t.test("a mark is where its figure says", async (t) => {
  const ours = { method: "bfmig-return", awayMs: 60_000 } as const;
  const red = methodMark("bfmig-return").colour;
  const saved = (totalMs: number) => {
    const [panel] = panelsOf(
      savingPlot(groupRuns([syntheticRecord(), syntheticRecord({ ...ours, totalMs })])),
    );
    return { mark: marksOf(panel?.svg ?? "", red)[0]?.x ?? Number.NaN, ticks: ticksOf(panel?.svg ?? "") };
  };
  const tenth = saved(8000);
  t.ok(Math.abs(tenth.mark - (tenth.ticks.get("90 %") ?? 0)) < 6, "a tenth of the time is a saving of 90 %");
  const loss = saved(160_000);
  t.ok(loss.mark < (loss.ticks.get("0 %") ?? 0) - 20, "a loss is left of 0 %");
  t.ok(Math.abs(loss.mark - (loss.ticks.get("2 ×") ?? 0)) < 6, "and says how many times as long");

  const range = { value: 20_000, low: 10_000, high: 40_000 };
  const predicted = { totalMs: range, downtimeMs: range, wireBytes: range };
  const right = { totalMs: 20_000, downtimeMs: 5000, wireBytes: 80_000 };
  const panels = panelsOf(predictionPlot([syntheticRecord({ ...ours, ...right, predicted })]));
  const offDiagonal = panels.map(({ svg }) => {
    const [mark] = marksOf(svg, red);
    const [from, to] = diagonalOf(svg);
    const onLine = from.y + ((mark.x - from.x) / (to.x - from.x)) * (to.y - from.y);
    return Math.round(onLine - mark.y);
  });
  t.ok(Math.abs(offDiagonal[0] ?? 99) <= 6, "what was predicted rightly is on the diagonal");
  t.ok((offDiagonal[1] ?? 0) < -20, "too few bytes are below it");
  t.ok((offDiagonal[2] ?? 0) > 20, "too much downtime is above it");
});

t.test("what did not converge has no mark", async (t) => {
  const grey = methodMark("precopy").colour;
  const count = (records: readonly ExperimentRecord[]) =>
    panelsOf(wirePlot(groupRuns(records))).reduce((sum, { svg }) => sum + marksOf(svg, grey).length, 0);
  const records = [syntheticRecord(), syntheticRecord({ workload: "web" })];
  t.equal(count(records), 2);
  t.equal(count([records[0] as ExperimentRecord, syntheticRecord({ workload: "web", converged: false })]), 1);
});

t.test("marks of methods differ in colour and in shape", async (t) => {
  const marks = methods.map(methodMark);
  for (const part of ["colour", "path"] as const) {
    t.equal(new Set(marks.map((mark) => mark[part])).size, methods.length, part);
  }
  const series = Array.from({ length: 35 }, (_, i) => seriesMark(i));
  t.equal(new Set(series.map(({ colour, path }) => colour + path)).size, 35);
});

/** Words below the plot by their place. */
function ticksOf(svg: string): Map<string, number> {
  const texts = [
    ...svg.matchAll(/<text [^>]*transform="translate\(([\d.]+) [\d.]+\)"[^>]*>([^<]*)<\/text>/g),
  ];
  return new Map(texts.map(([, x, text]) => [text ?? "", Number(x)]));
}

function diagonalOf(svg: string): [{ x: number; y: number }, { x: number; y: number }] {
  const line = /<path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"[^>]*stroke-dasharray/.exec(svg);
  const [x1, y1, x2, y2] = (line ?? []).slice(1).map(Number) as [number, number, number, number];
  return [
    { x: x1, y: y1 },
    { x: x2, y: y2 },
  ];
}
