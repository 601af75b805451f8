/** A panel with a band for each workload, and in it a lane for each method: each mark is a median, its whisker goes from least to most. */

import { collect } from "../groups.ts";
import {
  type AxisShape,
  drawPanel,
  nameGaps,
  type Point,
  panelWidth,
  pointSeries,
  ruleSeries,
  valueAxis,
} from "./draw.ts";
import type { Mark } from "./marks.ts";

/** One median. */
export interface StripMark {
  /** Which row it is in, from 0. */
  readonly row: number;
  /** Which lane of the row, from 0: marks in the same lane look the same. */
  readonly lane: number;
  readonly mark: Mark;
  /** Places along the axis. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

const laneHeight = 13;
const bandPadding = 10;
/** Share of a band in which its lanes are. */
const laneShare = 0.78;
const margins = { left: 92, right: 26, top: 8, bottom: 46 };

/** Width of the plot itself. */
export const stripWidth = panelWidth - margins.left - margins.right;

/** Draws the panel. `rule`: where a line says that nothing is saved. */
export function stripPanel(shape: {
  readonly rows: readonly string[];
  readonly lanes: number;
  readonly marks: readonly StripMark[];
  readonly axis: AxisShape;
  readonly rule?: number;
}): string {
  const { rows, lanes, marks, axis, rule } = shape;
  const last = rows.length - 0.5;
  const bands = valueAxis(
    { name: "", from: -0.5, to: last, ticks: rows.map((_, i) => i), text: (i) => rowText(rows[i] ?? "") },
    { nameGap: 0, inverse: true },
  );
  const yAxis = { ...bands, splitLine: { show: false }, axisTick: { show: false } };
  const borders = rows.slice(1).map((_, i) => ruleSeries([axis.from, i + 0.5], [axis.to, i + 0.5], "border"));
  const series = collect(marks, ({ lane }) => String(lane)).flatMap((inLane) => {
    const points = inLane.map(({ row, lane, value, low, high }): Point => {
      return { x: value, y: row + laneOffset(lane, lanes), low, high };
    });
    return pointSeries(inLane[0].mark, points, { whiskers: "x" });
  });
  return drawPanel({
    height: margins.top + margins.bottom + rows.length * (Math.max(lanes, 2) * laneHeight + bandPadding),
    margins,
    xAxis: valueAxis(axis, { nameGap: nameGaps.x }),
    yAxis,
    series: [
      ...borders,
      ...(rule === undefined ? [] : [ruleSeries([rule, -0.5], [rule, last], "rule")]),
      ...series,
    ],
  });
}

function laneOffset(lane: number, lanes: number): number {
  return ((lane - (lanes - 1) / 2) * laneShare) / lanes;
}

/** Long names take two lines. */
function rowText(name: string): string {
  return name.replace(", ", ",\n");
}
