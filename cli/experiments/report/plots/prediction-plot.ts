/** Prediction against outcome, a mark for each leg: on the diagonal the prediction was right. */

import { type ExperimentRecord, methods } from "../../record.ts";
import { type Outcome, outcomes, type PredictedFigure, wantedError } from "../prediction-error.ts";
import { areaSeries, drawPanel, nameGaps, plotMargins, pointSeries, ruleSeries, valueAxis } from "./draw.ts";
import type { FigureOrReason, Panel } from "./figure.ts";
import { logScale } from "./log-scale.ts";
import { methodMark } from "./marks.ts";
import { methodLegend } from "./panels-by-link.ts";
import { timeTick, wireTick } from "./tick-texts.ts";

const maxTicks = 6;

const drawnFigures = [
  { figure: "totalMs", title: "Total time", text: timeTick },
  { figure: "wireBytes", title: "Bytes on the wire", text: wireTick },
  { figure: "downtimeMs", title: "Downtime", text: timeTick },
] as const satisfies readonly { figure: PredictedFigure; title: string; text: (value: number) => string }[];

/** The figure. */
export function predictionPlot(records: readonly ExperimentRecord[]): FigureOrReason {
  const id = "prediction-plot";
  const drawn = drawnFigures
    .map((one) => ({
      ...one,
      legs: outcomes(records, one.figure).filter(({ value, measured }) => value > 0 && measured > 0),
    }))
    .filter(({ legs }) => legs.length > 0);
  if (drawn.length === 0) {
    return {
      id,
      missing: "Prediction against outcome is not drawn: no leg that converged has a prediction.",
    };
  }
  const used = methods.filter((method) =>
    drawn.some(({ legs }) => legs.some(({ record }) => record.method === method)),
  );
  return {
    id,
    caption:
      "What was predicted before the first byte against what was measured; each mark is a leg, the line through it the interval that was told. On the " +
      `dashed line the prediction was right; within the band it was off by ${100 * wantedError} % at most. Scales are logarithmic.`,
    legend: methodLegend(used),
    panels: drawn.map(({ title, text, legs }) => panelOf(title, legs, text)),
  };
}

function panelOf(title: string, legs: readonly Outcome[], text: (value: number) => string): Panel {
  const scale = logScale(
    legs.flatMap(({ value, measured }) => [value, measured]),
    maxTicks,
  );
  const { from, to } = scale;
  // A whisker ends at the axis: an interval without a history is wide, and would leave the marks no room.
  const place = (value: number) => Math.min(to, Math.max(from, value > 0 ? Math.log10(value) : from));
  const above = Math.log10(1 + wantedError);
  const below = Math.log10(1 - wantedError);
  const tick = (at: number) => text(10 ** at);
  const series = methods.flatMap((method) => {
    const points = legs
      .filter(({ record }) => record.method === method)
      .map(({ value, low, high, measured }) => ({
        x: Math.log10(measured),
        y: Math.log10(value),
        low: place(low),
        high: place(high),
      }));
    return points.length === 0
      ? []
      : pointSeries(methodMark(method), points, { whiskers: "y", size: 7, isFaint: true });
  });
  const svg = drawPanel({
    height: 350,
    margins: plotMargins,
    xAxis: valueAxis({ name: "measured", ...scale, text: tick }, { nameGap: nameGaps.x }),
    yAxis: valueAxis({ name: "predicted", ...scale, text: tick }, { nameGap: nameGaps.y }),
    series: [
      areaSeries([
        [from, from + below],
        [to, to + below],
        [to, to + above],
        [from, from + above],
      ]),
      ruleSeries([from, from], [to, to], "rule"),
      ...series,
    ],
  });
  return { title, svg };
}
