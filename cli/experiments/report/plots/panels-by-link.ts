/** Divides groups into panels by link, in which workloads are rows and methods lanes. */

import { type ExperimentRecord, methods } from "../../record.ts";
import { collect, compareSituations, type Group } from "../groups.ts";
import { linkName, methodName, workloadName } from "../words.ts";
import type { AxisShape } from "./draw.ts";
import type { Figure } from "./figure.ts";
import { type LegendEntry, methodMark } from "./marks.ts";
import { type StripMark, stripPanel } from "./strip-panel.ts";

/** What is drawn of a group: figures in the unit of the axis. */
export interface DrawnGroup {
  readonly group: Group;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** The panels and the legend. All panels have the same axis, so that they can be compared. */
export function panelsByLink(
  drawn: readonly DrawnGroup[],
  axis: AxisShape,
  isVersionTold: boolean,
  rule?: number,
): Pick<Figure, "panels" | "legend"> {
  const used = methods.filter((method) => drawn.some(({ group }) => group.method === method));
  const panelTitle = ({ group: { situation } }: DrawnGroup) =>
    `${linkName(situation.link)}${isVersionTold ? `, QEMU ${situation.qemuVersion}` : ""}`;
  const sorted = [...drawn].sort(
    (a, b) =>
      a.group.situation.link.bitsPerSecond - b.group.situation.link.bitsPerSecond ||
      a.group.situation.link.rttMs - b.group.situation.link.rttMs ||
      compareSituations(a.group.situation, b.group.situation),
  );
  const panels = collect(sorted, panelTitle).map((inPanel) => {
    const rows = [...new Set(inPanel.map(({ group }) => workloadName(group.situation)))];
    const marks = inPanel.map(({ group, value, low, high }): StripMark => {
      const row = rows.indexOf(workloadName(group.situation));
      const lane = used.indexOf(group.method);
      return { row, lane, mark: methodMark(group.method), value, low, high };
    });
    const lanes = used.length;
    const shape = { rows, lanes, marks, axis };
    return {
      title: panelTitle(inPanel[0]),
      svg: stripPanel(rule === undefined ? shape : { ...shape, rule }),
    };
  });
  return { panels, legend: methodLegend(used) };
}

/** The legend of methods. */
export function methodLegend(used: readonly ExperimentRecord["method"][]): LegendEntry[] {
  return used.map((method) => ({ name: methodName(method), mark: methodMark(method) }));
}
