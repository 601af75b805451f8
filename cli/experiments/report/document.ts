/** The report before it becomes HTML or Markdown: facts, and sections with figures and tables. */

import type { ExperimentRecord } from "../record.ts";
import { ageingSeries } from "./ageing-series.ts";
import { groupRuns, hasSeveralVersions } from "./groups.ts";
import type { Origin } from "./origin.ts";
import { ageingPlot } from "./plots/ageing-plot.ts";
import { downtimePlot, wirePlot } from "./plots/amount-plots.ts";
import type { FigureOrReason } from "./plots/figure.ts";
import { memoryPlot } from "./plots/memory-plot.ts";
import { predictionPlot } from "./plots/prediction-plot.ts";
import { savingPlot } from "./plots/saving-plot.ts";
import { quantile } from "./statistics.ts";
import type { Table } from "./table.ts";
import {
  ageingTable,
  divergedTable,
  errorTable,
  isEmpty,
  measuredTable,
  predictionTable,
  savingTable,
} from "./tables.ts";

/** A part of the report. */
export interface Section {
  readonly title: string;
  /** What the reader has to know, a paragraph each. */
  readonly text: readonly string[];
  readonly figures: readonly FigureOrReason[];
  /** None is empty. */
  readonly tables: readonly Table[];
}

/** The report. */
export interface ReportDocument {
  readonly title: string;
  /** Names and values: on what, when and how it was measured. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly sections: readonly Section[];
}

/** Makes the document of all runs. */
export function makeDocument(records: readonly ExperimentRecord[], origin: Origin): ReportDocument {
  const situations = groupRuns(records);
  const ageing = ageingSeries(situations);
  const isVersionTold = hasSeveralVersions(situations);
  const diverged = divergedTable(situations);
  const section = (
    title: string,
    text: readonly string[],
    figures: readonly FigureOrReason[],
    tables: readonly Table[],
  ) => ({ title, text, figures, tables: tables.filter((table) => !isEmpty(table)) });
  return {
    title: "Experiments of bfmig",
    facts: factsOf(records, situations.length, origin),
    sections: [
      section(
        "Savings",
        [
          "QEMU's best is the one of its variants whose median is the least, for time and for bytes by itself.",
        ],
        [savingPlot(situations)],
        [savingTable(situations)],
      ),
      section(
        "Times and bytes",
        [
          "Total time is from the command until the VM runs at the other site, downtime from the source's STOP to the destination's RESUME, the " +
            "guest-visible gap the longest time between two heartbeats of the guest. Bytes are those of TCP in both directions.",
        ],
        [memoryPlot(situations), downtimePlot(situations), wirePlot(situations)],
        [measuredTable(situations)],
      ),
      section("Ageing", [], [ageingPlot(ageing, isVersionTold)], [ageingTable(ageing, isVersionTold)]),
      section(
        "Predictions",
        ["An error is (predicted − measured) / measured. Above 0 too much was predicted."],
        [predictionPlot(records)],
        [errorTable(records), predictionTable(situations)],
      ),
      section("Runs that did not converge", isEmpty(diverged) ? ["All runs converged."] : [], [], [diverged]),
    ],
  };
}

function factsOf(
  records: readonly ExperimentRecord[],
  situations: number,
  origin: Origin,
): [name: string, value: string][] {
  const times = records.map(({ at }) => new Date(at).getTime());
  const loads = records.map(({ load }) => load);
  const diverged = records.filter(({ converged }) => !converged).length;
  const versions = [...new Set(records.map(({ qemuVersion }) => qemuVersion))].sort();
  const load = (share: number) => quantile(loads, share).toFixed(2);
  const day = (time: number) =>
    new Date(time)
      .toISOString()
      .replace(/:\d\d\.\d+Z$/, " UTC")
      .replace("T", " ");
  return [
    [
      "Runs",
      `${records.length} in ${situations} ${situations === 1 ? "situation" : "situations"}; ` +
        (diverged === 0 ? "all converged" : `${diverged} did not converge`),
    ],
    ["Measured", `from ${day(Math.min(...times))} to ${day(Math.max(...times))}`],
    ["QEMU", versions.join(", ")],
    ["Load over one minute when a run began", `median ${load(0.5)}, ${load(0)} to ${load(1)}`],
    ["Machine of the experiments", origin.experiments?.machine ?? "not recorded"],
    ["Command of the experiments", origin.experiments?.command ?? "not recorded"],
    ["This report", `made ${day(new Date(origin.report.at).getTime())} by ${origin.report.command}`],
  ];
}
