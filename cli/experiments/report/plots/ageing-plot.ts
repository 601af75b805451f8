/** Changed share over the time away: a panel for each guest, in it a series for each workload, with the fitted curve. */

import { changedShareAt } from "../../../../src/predict/ageing.ts";
import { type AgeingSeries, agesForCurve } from "../ageing-series.ts";
import { collect } from "../groups.ts";
import { guestName, shareText, workloadName } from "../words.ts";
import {
  type AxisShape,
  curveSeries,
  drawPanel,
  nameGaps,
  plotMargins,
  pointSeries,
  valueAxis,
} from "./draw.ts";
import type { FigureOrReason, Panel } from "./figure.ts";
import { linearScale } from "./linear-scale.ts";
import { type Mark, seriesMark } from "./marks.ts";

const curvePoints = 60;
const maxTicks = 6;

/** The figure. */
export function ageingPlot(series: readonly AgeingSeries[], isVersionTold: boolean): FigureOrReason {
  const id = "ageing-plot";
  const shown = series.filter(({ ages }) => ages.length > 1);
  if (shown.length === 0) {
    const missing =
      "The ageing curve is not drawn: no guest returned after two different times away with a known changed share.";
    return { id, missing };
  }
  const names = [...new Set(shown.map(({ guest }) => workloadName(guest)))];
  const markOf = (one: AgeingSeries) => seriesMark(names.indexOf(workloadName(one.guest)));
  const titleOf = ({ guest }: AgeingSeries) =>
    `${guestName(guest)}${isVersionTold ? `, QEMU ${guest.qemuVersion}` : ""}`;
  return {
    id,
    caption:
      "Share of memory in pages that had changed when the guest returned, over the time that it was away. Each mark is the median of the runs of all " +
      `links, the line through it goes from the least to the most. The curve is p(t) = p_∞ · (1 − e^(−t / θ)), fitted by least squares where there are ${agesForCurve} times or more.`,
    legend: names.map((name, i) => ({ name, mark: seriesMark(i) })),
    panels: collect(shown, titleOf).map((inPanel) => panelOf(titleOf(inPanel[0]), inPanel, markOf)),
  };
}

function panelOf(
  title: string,
  inPanel: readonly AgeingSeries[],
  markOf: (one: AgeingSeries) => Mark,
): Panel {
  const ages = inPanel.flatMap((one) => one.ages);
  const longest = Math.max(...ages.map(({ awayMs }) => awayMs)) / 1000;
  const time = timeAxis(longest);
  const share: AxisShape = {
    name: "changed share",
    ...linearScale(Math.max(...ages.map(({ changedShare }) => changedShare.most), 0.001), maxTicks),
    text: (value) => shareText(value).replace(".0 ", " "),
  };
  const series = inPanel.flatMap((one) => {
    const mark = markOf(one);
    const points = one.ages.map(({ awayMs, changedShare }) => ({
      x: awayMs / 1000 / time.unitSeconds,
      y: changedShare.median,
      low: changedShare.least,
      high: changedShare.most,
    }));
    const { fit } = one;
    if (fit === null) return pointSeries(mark, points, { whiskers: "y" });
    const curve = Array.from({ length: curvePoints + 1 }, (_, i): [number, number] => {
      const x = (time.axis.to * i) / curvePoints;
      return [x, changedShareAt(fit, x * time.unitSeconds)];
    });
    return [curveSeries(mark.colour, curve), ...pointSeries(mark, points, { whiskers: "y" })];
  });
  const svg = drawPanel({
    height: 280,
    margins: plotMargins,
    xAxis: valueAxis(time.axis, { nameGap: nameGaps.x, lines: false }),
    yAxis: valueAxis(share, { nameGap: nameGaps.y }),
    series,
  });
  return { title, svg };
}

/** Seconds, minutes or hours, as suits the longest time. */
function timeAxis(longestSeconds: number): { readonly axis: AxisShape; readonly unitSeconds: number } {
  const [unit, unitSeconds] =
    longestSeconds < 180
      ? (["s", 1] as const)
      : longestSeconds < 3 * 3600
        ? (["min", 60] as const)
        : (["h", 3600] as const);
  const scale = linearScale(longestSeconds / unitSeconds, maxTicks);
  const text = (value: number) => String(Number(value.toPrecision(3)));
  return { axis: { name: `time away, ${unit}`, ...scale, text }, unitSeconds };
}
