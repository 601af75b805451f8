/** Draws plots as SVG with ECharts, without a browser: its renderer on the server side makes text. */

import { CustomChart, LineChart, ScatterChart } from "echarts/charts";
import { GridComponent } from "echarts/components";
import { type EChartsCoreOption, init, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { Mark } from "./marks.ts";

use([CustomChart, LineChart, ScatterChart, GridComponent, SVGRenderer]);

/** Width of every panel in units of its SVG; it is as wide as a small telephone shows it. */
export const panelWidth = 380;
/** Room around plots with figures at both axes, and between an axis and its name. */
export const plotMargins = { left: 74, right: 24, top: 12, bottom: 46 };
export const nameGaps = { x: 28, y: 56 };

const textColour = "var(--text)";
const quietColour = "var(--quiet)";
const lineColour = "var(--line)";
const font = { fontSize: 12, fontFamily: "system-ui, sans-serif" };

/** An axis with ticks where we say. */
export interface AxisShape {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly ticks: readonly number[];
  readonly text: (value: number) => string;
}

/** The axis as ECharts takes it; `lines`: with a line across the plot at each tick. */
export function valueAxis(
  { name, from, to, ticks, text }: AxisShape,
  more: { readonly nameGap: number; readonly lines?: boolean; readonly inverse?: boolean },
): object {
  return {
    type: "value",
    min: from,
    max: to,
    inverse: more.inverse ?? false,
    name,
    nameLocation: "middle",
    nameGap: more.nameGap,
    nameTextStyle: { color: quietColour, ...font },
    axisLine: { show: true, onZero: false, lineStyle: { color: quietColour } },
    axisTick: { show: true, customValues: [...ticks], lineStyle: { color: quietColour } },
    axisLabel: {
      customValues: [...ticks],
      color: textColour,
      hideOverlap: false,
      formatter: (value: number) => text(value),
      ...font,
    },
    splitLine: { show: more.lines ?? true, customValues: [...ticks], lineStyle: { color: lineColour } },
  };
}

/** A point of a plot: its place, and where its whisker ends. */
export interface Point {
  readonly x: number;
  readonly y: number;
  /** Along the axis that the whisker is parallel to; both at the point for none. */
  readonly low: number;
  readonly high: number;
}

/** Marks of a series and their whiskers. Lines join them where `joined`. */
export function pointSeries(
  mark: Mark,
  points: readonly Point[],
  how: {
    readonly whiskers: "x" | "y";
    readonly joined?: boolean;
    readonly size?: number;
    /** Whiskers that stay in the background: where there are many. */
    readonly isFaint?: boolean;
  },
): object[] {
  const ends = (value: number, { x, y }: Point) => (how.whiskers === "x" ? [value, y] : [x, value]);
  const pen = how.isFaint ? { lineWidth: 1, opacity: 0.35 } : { lineWidth: 1.5, opacity: 1 };
  const whiskers = {
    type: "custom",
    silent: true,
    z: 2,
    data: points
      .filter(({ low, high }) => low < high)
      .map((point) => [...ends(point.low, point), ...ends(point.high, point)]),
    encode: { x: [0, 2], y: [1, 3] },
    renderItem: (_params: unknown, api: { value(i: number): number; coord(at: number[]): number[] }) => {
      const [x1, y1] = api.coord([api.value(0), api.value(1)]);
      const [x2, y2] = api.coord([api.value(2), api.value(3)]);
      return { type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: mark.colour, ...pen } };
    },
  };
  const data = points.map(({ x, y }) => [x, y]);
  const symbol = { symbol: `path://${mark.path}`, symbolSize: how.size ?? 9, silent: true, z: 3 };
  const marks = how.joined
    ? { type: "line", data, ...symbol, lineStyle: { color: mark.colour, width: 1.5 } }
    : { type: "scatter", data, ...symbol };
  return [whiskers, { ...marks, itemStyle: { color: mark.colour, opacity: 1 } }];
}

/** A curve without marks. */
export function curveSeries(colour: string, points: readonly (readonly [number, number])[]): object {
  const data = points.map(([x, y]) => [x, y]);
  return { type: "line", data, symbol: "none", silent: true, z: 2, lineStyle: { color: colour, width: 1.5 } };
}

/** A straight line behind the marks: a dashed rule that says something, or a border between bands. */
export function ruleSeries(
  from: readonly [number, number],
  to: readonly [number, number],
  kind: "rule" | "border",
): object {
  const lineStyle =
    kind === "rule" ? { color: quietColour, width: 1, type: [4, 3] } : { color: lineColour, width: 1 };
  return { type: "line", data: [[...from], [...to]], symbol: "none", silent: true, z: 1, lineStyle };
}

/** An area behind the marks, by its corners. */
export function areaSeries(corners: readonly (readonly [number, number])[]): object {
  return {
    type: "custom",
    silent: true,
    z: 0,
    clip: true,
    data: [[0]],
    renderItem: (_params: unknown, api: { coord(at: readonly number[]): number[] }) => ({
      type: "polygon",
      shape: { points: corners.map((corner) => api.coord([...corner])) },
      style: { fill: "var(--band)" },
    }),
  };
}

/** What is drawn of one panel. */
export interface PanelShape {
  readonly height: number;
  readonly margins: {
    readonly left: number;
    readonly right: number;
    readonly top: number;
    readonly bottom: number;
  };
  readonly xAxis: object;
  readonly yAxis: object;
  readonly series: readonly object[];
}

/** The panel as SVG that is as wide as its place. */
export function drawPanel({ height, margins, xAxis, yAxis, series }: PanelShape): string {
  const option: EChartsCoreOption = {
    animation: false,
    textStyle: { color: textColour, ...font },
    grid: { ...margins, outerBoundsMode: "none" },
    xAxis,
    yAxis,
    series: [...series],
  };
  const chart = init(null, null, { renderer: "svg", ssr: true, width: panelWidth, height });
  try {
    chart.setOption(option);
    return withoutPageStyles(chart.renderToSVGString({ useViewBox: true }));
  } finally {
    chart.dispose();
  }
}

/**
 * Leaves what a plot within the page needs: rules for a pointer would count for the whole page, styles of elements are what its policy
 * forbids (its own style has the font), names of namespaces go without saying in HTML, and nobody reads what is for scripts.
 */
function withoutPageStyles(svg: string): string {
  return svg
    .replace(/<style ?>[\s\S]*?<\/style>/g, "")
    .replace(/ (?:class|style|ecmeta_\w+|xmlns|xmlns:xlink|xml:space|version|baseProfile)="[^"]*"/g, "")
    .replace(/\n+/g, "\n");
}
