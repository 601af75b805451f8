/**
 * Time saved beside plain QEMU, by workload. The axis is that of what is left of QEMU's time, on a logarithmic scale: 90 %, 99 % and 99.9 %
 * are as far from each other as they are hard to reach, and losses have their place.
 */

import { hasSeveralVersions, type SituationGroups } from "../groups.ts";
import { savingsOf } from "../savings.ts";
import type { AxisShape } from "./draw.ts";
import type { FigureOrReason } from "./figure.ts";
import { type DrawnGroup, panelsByLink } from "./panels-by-link.ts";
import { stripWidth } from "./strip-panel.ts";

/** Shares of QEMU's time that may have a tick; those before go first where there is no room for all. */
const remains = [
  1, 0.1, 0.01, 0.001, 0.0001, 10, 100, 1000, 0.5, 2, 0.05, 5, 0.2, 0.005, 20, 0.02, 50, 0.0005, 0.002,
];
/** Room that the words of a tick take, in units of the SVG. */
const tickRoom = 44;

/** The figure. */
export function savingPlot(situations: readonly SituationGroups[]): FigureOrReason {
  const id = "saving-plot";
  const drawn = situations.flatMap((one) =>
    savingsOf(one).flatMap(({ group, time: { plain } }): DrawnGroup[] => {
      // All of it is saved only by what takes no time at all.
      if (plain === null || plain.most >= 1) return [];
      const [value, low, high] = [plain.median, plain.least, plain.most].map(nines) as [
        number,
        number,
        number,
      ];
      return [{ group, value, low, high }];
    }),
  );
  if (drawn.length === 0) {
    const missing =
      "Saving by workload is not drawn: it takes runs of QEMU's plain pre-copy and of another method that converged in the same situation.";
    return { id, missing };
  }
  return {
    id,
    caption:
      "Total time saved beside QEMU's plain pre-copy, by workload and link. Each mark is one guest (its memory, its age, and how long it was away), " +
      "by the medians of its runs; the line goes from its worst pair of runs to its best one. The scale is logarithmic in what is left of QEMU's time; " +
      "left of 0 % the method takes longer, as many times as it says. What did not converge has no mark, and where QEMU's plain pre-copy did not, no " +
      "method has one.",
    ...panelsByLink(drawn, savingAxis(drawn), hasSeveralVersions(situations), 0),
  };
}

/** How many nines a saving has: 0 for 0 %, 1 for 90 %, 2 for 99 %; below 0 for a loss. */
function nines(saving: number): number {
  return -Math.log10(1 - saving);
}

function savingAxis(drawn: readonly DrawnGroup[]): AxisShape {
  const low = Math.min(0, ...drawn.map((one) => one.low)) - 0.08;
  const high = Math.max(...drawn.map((one) => one.high), 1) + 0.12;
  const distance = (tickRoom * (high - low)) / stripWidth;
  const ticks: number[] = [];
  for (const at of remains.map((share) => -Math.log10(share))) {
    const isFree = ticks.every((other) => Math.abs(other - at) >= distance);
    if (at >= low && at <= high && isFree) ticks.push(at);
  }
  ticks.sort((a, b) => a - b);
  return { name: "total time saved", from: low, to: high, ticks, text: savingText };
}

function savingText(at: number): string {
  const left = 10 ** -at;
  return left > 1.0001 ? `${Math.round(left)} ×` : `${Number((100 * (1 - left)).toFixed(3))} %`;
}
