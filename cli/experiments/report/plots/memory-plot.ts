/** Total time over the size of the guest's memory: a panel for each workload, age and link with more than one size. */

import { methods } from "../../record.ts";
import { collect, type Group, hasSeveralVersions, type SituationGroups } from "../groups.ts";
import { linkName, memoryText, workloadName } from "../words.ts";
import { drawPanel, nameGaps, type Point, plotMargins, pointSeries, valueAxis } from "./draw.ts";
import type { FigureOrReason, Panel } from "./figure.ts";
import { logScale } from "./log-scale.ts";
import { methodMark } from "./marks.ts";
import { methodLegend } from "./panels-by-link.ts";
import { timeTick } from "./tick-texts.ts";

const maxTicks = 6;
/** Room between the first and last size and the ends of the axis, as a logarithm. */
const room = 0.08;

/** The figure. */
export function memoryPlot(situations: readonly SituationGroups[]): FigureOrReason {
  const id = "memory-plot";
  const isVersionTold = hasSeveralVersions(situations);
  const measured = situations
    .flatMap(({ groups }) => groups)
    .filter(({ totalMs, situation }) => totalMs !== null && totalMs.least > 0 && situation.memoryBytes > 0);
  const shown = collect(measured, (group) => titleOf(group, isVersionTold)).filter(
    (groups) => new Set(groups.map(({ situation }) => situation.memoryBytes)).size > 1,
  );
  if (shown.length === 0) {
    const missing =
      "Total time over the size of memory is not drawn: no workload ran with two sizes of memory over the same link.";
    return { id, missing };
  }
  const used = methods.filter((method) => shown.flat().some((group) => group.method === method));
  return {
    id,
    caption:
      "Total time over the size of the guest's memory. Each mark is the median of the runs of one method, the line through it goes from the least to the " +
      "most; return legs are joined where they were away for the same time. Both scales are logarithmic. What did not converge has no mark.",
    legend: methodLegend(used),
    panels: shown.map((groups) => panelOf(groups, isVersionTold)),
  };
}

function titleOf({ situation }: Group, isVersionTold: boolean): string {
  const { age, diskBytes, link, qemuVersion } = situation;
  const parts = [
    workloadName(situation),
    age,
    ...(diskBytes === 0 ? [] : [`disk of ${memoryText(diskBytes)}`]),
  ];
  return [...parts, linkName(link), ...(isVersionTold ? [`QEMU ${qemuVersion}`] : [])].join(", ");
}

function panelOf(groups: readonly [Group, ...Group[]], isVersionTold: boolean): Panel {
  const sizes = [...new Set(groups.map(({ situation }) => situation.memoryBytes))].sort((a, b) => a - b);
  const logs = sizes.map(Math.log10);
  const scale = logScale(
    groups.flatMap(({ totalMs }) => (totalMs === null ? [] : [totalMs.least, totalMs.most])),
    maxTicks,
  );
  const series = collect(groups, ({ method, awayMs }) => `${method} ${awayMs}`).flatMap((same) => {
    const points = same
      .flatMap(({ situation, totalMs }): Point[] => {
        if (totalMs === null) return [];
        const [y, low, high] = [totalMs.median, totalMs.least, totalMs.most].map(Math.log10) as [
          number,
          number,
          number,
        ];
        return [{ x: Math.log10(situation.memoryBytes), y, low, high }];
      })
      .sort((a, b) => a.x - b.x);
    return pointSeries(methodMark(same[0].method), points, { whiskers: "y", joined: true });
  });
  const svg = drawPanel({
    height: 280,
    margins: plotMargins,
    xAxis: valueAxis(
      {
        name: "memory",
        from: Math.min(...logs) - room,
        to: Math.max(...logs) + room,
        ticks: logs,
        text: (at) => memoryText(Math.round(10 ** at)),
      },
      { nameGap: nameGaps.x, lines: false },
    ),
    yAxis: valueAxis(
      { name: "total time", ...scale, text: (at) => timeTick(10 ** at) },
      { nameGap: nameGaps.y },
    ),
    series,
  });
  return { title: titleOf(groups[0], isVersionTold), svg };
}
