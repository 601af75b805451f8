/** Downtime and bytes on the wire, by workload and method. */

import { type Group, hasSeveralVersions, type SituationGroups } from "../groups.ts";
import type { Summary } from "../statistics.ts";
import type { FigureOrReason } from "./figure.ts";
import { logScale } from "./log-scale.ts";
import { type DrawnGroup, panelsByLink } from "./panels-by-link.ts";
import { timeTick, wireTick } from "./tick-texts.ts";

const maxTicks = 6;

/** Downtime by method. */
export function downtimePlot(situations: readonly SituationGroups[]): FigureOrReason {
  return amountPlot(situations, {
    id: "downtime-plot",
    axis: "downtime",
    of: ({ downtimeMs }) => downtimeMs,
    text: timeTick,
    caption:
      "Downtime, from the source's STOP to the destination's RESUME, by workload and link. Each mark is the median of one guest's runs, the line goes " +
      "from the least to the most; the scale is logarithmic. What did not converge has no mark.",
    missing: "Downtime is not drawn: no run that converged has one above 0.",
  });
}

/** Bytes on the wire by method. */
export function wirePlot(situations: readonly SituationGroups[]): FigureOrReason {
  return amountPlot(situations, {
    id: "wire-plot",
    axis: "bytes on the wire",
    of: ({ wireBytes }) => wireBytes,
    text: wireTick,
    caption:
      "Bytes of TCP in both directions, by workload and link. Each mark is the median of one guest's runs, the line goes from the least to the most; " +
      "the scale is logarithmic. What did not converge has no mark.",
    missing: "Bytes on the wire are not drawn: no run that converged has any.",
  });
}

function amountPlot(
  situations: readonly SituationGroups[],
  what: {
    readonly id: string;
    readonly axis: string;
    readonly of: (group: Group) => Summary | null;
    readonly text: (value: number) => string;
    readonly caption: string;
    readonly missing: string;
  },
): FigureOrReason {
  const { id, caption, missing } = what;
  const found = situations.flatMap(({ groups }) =>
    groups.flatMap((group) => {
      const summary = what.of(group);
      return summary === null || summary.least <= 0 ? [] : [{ group, summary }];
    }),
  );
  if (found.length === 0) return { id, missing };
  const scale = logScale(
    found.flatMap(({ summary }) => [summary.least, summary.most]),
    maxTicks,
  );
  const drawn = found.map(({ group, summary }): DrawnGroup => {
    const [value, low, high] = [summary.median, summary.least, summary.most].map(Math.log10) as [
      number,
      number,
      number,
    ];
    return { group, value, low, high };
  });
  const axis = { name: what.axis, ...scale, text: (at: number) => what.text(10 ** at) };
  return { id, caption, ...panelsByLink(drawn, axis, hasSeveralVersions(situations)) };
}
