/** The tables of the report: what was measured, what was saved, how the memory aged, how good predictions were. */

import type { ExperimentRecord } from "../record.ts";
import { type AgeingSeries, agesForCurve } from "./ageing-series.ts";
import { type Group, hasSeveralVersions, type SituationGroups } from "./groups.ts";
import { type Errors, errorsOf, groupErrors, outcomes, predictedFigures } from "./prediction-error.ts";
import { type Saving, savingsOf } from "./savings.ts";
import type { Summary } from "./statistics.ts";
import { type Cell, cell, type RowGroup, type Table } from "./table.ts";
import {
  awayText,
  groupName,
  guestName,
  methodName,
  noFigure,
  shareText,
  signedShareText,
  situationName,
  spreadTexts,
  timeText,
  wireText,
  workloadName,
} from "./words.ts";

/** Times and bytes of every method in every situation. */
export function measuredTable(situations: readonly SituationGroups[]): Table {
  return {
    id: "measured",
    caption: "Times and bytes: medians of the runs that converged, and their spread",
    head: ["Method", "Runs", "Total time", "Downtime", "Guest-visible gap", "Bytes on the wire"],
    groups: bySituation(situations, ({ groups }) =>
      groups.map((group) => [
        cell(groupName(group)),
        runsCell(group),
        figureCell(group, group.totalMs, timeText),
        figureCell(group, group.downtimeMs, timeText),
        figureCell(group, group.gapMs, timeText),
        figureCell(group, group.wireBytes, wireText),
      ]),
    ),
  };
}

/** What each method saves. */
export function savingTable(situations: readonly SituationGroups[]): Table {
  return {
    id: "savings",
    caption:
      "Savings of medians, with those of the worst and the best pair of runs. Below 0 the method takes more",
    head: [
      "Method",
      "Time, beside plain QEMU",
      "Time, beside QEMU's best",
      "Bytes, beside plain QEMU",
      "Bytes, beside QEMU's best",
    ],
    groups: bySituation(situations, (one) =>
      savingsOf(one).map(({ group, time, bytes }) => [
        cell(groupName(group)),
        savingCell(time.plain, false),
        savingCell(time.best, true),
        savingCell(bytes.plain, false),
        savingCell(bytes.best, true),
      ]),
    ),
  };
}

/** Changed shares by time away, and the curves through them. */
export function ageingTable(series: readonly AgeingSeries[], isVersionTold: boolean): Table {
  return {
    id: "ageing",
    caption: "Share of memory that had changed: medians over all links",
    head: ["Away", "Runs", "Changed"],
    groups: series.map(({ guest, ages, fit }) => ({
      title: [
        workloadName(guest),
        guestName(guest),
        ...(isVersionTold ? [`QEMU ${guest.qemuVersion}`] : []),
        fit === null
          ? `no curve: fewer than ${agesForCurve} ages`
          : `p(t) = ${shareText(fit.limit)} · (1 − e^(−t / ${awayText(1000 * fit.seconds)})), residual ${shareText(fit.residual)}`,
      ].join(" · "),
      rows: ages.map(({ awayMs, changedShare }) => [
        cell(awayText(awayMs)),
        cell(String(changedShare.n)),
        cell(shareText(changedShare.median), spreadTexts(changedShare, shareText)),
      ]),
    })),
  };
}

/** Prediction beside outcome, group by group. */
export function predictionTable(situations: readonly SituationGroups[]): Table {
  return {
    id: "predictions",
    caption:
      "Medians of what was predicted before the first byte, and of what then happened; the error is the median one, without its sign",
    head: [
      "Method",
      "Legs",
      "Time predicted",
      "Time measured",
      "Error",
      "Bytes predicted",
      "Bytes measured",
      "Error",
    ],
    groups: bySituation(situations, ({ groups }) =>
      groups.flatMap((group) => {
        const time = groupErrors(group, "totalMs");
        const bytes = groupErrors(group, "wireBytes");
        if (time === null && bytes === null) return [];
        return [
          [
            cell(groupName(group)),
            cell(String((time ?? bytes)?.legs ?? 0)),
            ...errorCells(time, timeText),
            ...errorCells(bytes, wireText),
          ],
        ];
      }),
    ),
  };
}

/** How good predictions were over all legs. */
export function errorTable(records: readonly ExperimentRecord[]): Table {
  const names = { totalMs: "total time", downtimeMs: "downtime", wireBytes: "bytes on the wire" };
  const rows = predictedFigures.flatMap((figure) => {
    const errors = errorsOf(outcomes(records, figure));
    if (errors === null) return [];
    const { legs, median, p90, worst, withinWanted, withinInterval } = errors;
    const shares = [shareText(median), shareText(p90), signedShareText(worst)];
    const within = [shareText(withinWanted), shareText(withinInterval)];
    return [[names[figure], String(legs), ...shares, ...within].map((text) => cell(text))];
  });
  return {
    id: "errors",
    caption: "Relative errors of predictions over all legs that converged",
    head: [
      "Predicted",
      "Legs",
      "Median error",
      "90 % are below",
      "Worst",
      "Within ±15 %",
      "Within the interval told",
    ],
    groups: rows.length === 0 ? [] : [{ title: null, rows }],
  };
}

/** Runs that were given up. */
export function divergedTable(situations: readonly SituationGroups[]): Table {
  return {
    id: "diverged",
    caption:
      "Runs that did not converge, and when they were given up. They are in no median, saving or error",
    head: ["Method", "Repeat", "Begun", "Given up after", "Bytes until then"],
    groups: bySituation(situations, ({ groups }) =>
      groups.flatMap((group) =>
        group.diverged.map(({ repeat, at, totalMs, wireBytes }) =>
          [groupName(group), String(repeat), at, timeText(totalMs), wireText(wireBytes)].map((text) =>
            cell(text),
          ),
        ),
      ),
    ),
  };
}

/** Whether a table has no rows. */
export function isEmpty({ groups }: Table): boolean {
  return groups.every(({ rows }) => rows.length === 0);
}

function bySituation(
  situations: readonly SituationGroups[],
  rowsOf: (one: SituationGroups) => readonly (readonly Cell[])[],
): RowGroup[] {
  const isVersionTold = hasSeveralVersions(situations);
  return situations.flatMap((one) => {
    const rows = rowsOf(one);
    return rows.length === 0 ? [] : [{ title: situationName(one.situation, isVersionTold), rows }];
  });
}

function runsCell({ converged, diverged }: Group): Cell {
  const runs = String(converged.length + diverged.length);
  return cell(runs, diverged.length === 0 ? [] : [`${diverged.length} did not converge`]);
}

function figureCell(group: Group, summary: Summary | null, text: (figure: number) => string): Cell {
  if (summary === null) return cell(group.converged.length === 0 ? "did not converge" : noFigure);
  const missing = group.converged.length - summary.n;
  const spread = spreadTexts(summary, text);
  return cell(text(summary.median), missing === 0 ? spread : [...spread, `missing in ${missing}`]);
}

function savingCell(saving: Saving | null, isNamed: boolean): Cell {
  if (saving === null) return cell(noFigure);
  const { median, least, most, baseline, baselineDiverged } = saving;
  return cell(shareText(median), [
    ...(isNamed ? [`beside ${methodName(baseline)}`] : []),
    ...(least === most ? [] : [`${shareText(least)} to ${shareText(most)}`]),
    ...(baselineDiverged === 0 ? [] : [`${baselineDiverged} of its runs did not converge`]),
  ]);
}

function errorCells(errors: Errors | null, text: (figure: number) => string): Cell[] {
  if (errors === null) return [noFigure, noFigure, noFigure].map((none) => cell(none));
  const { legs, predicted, measured, median, worst } = errors;
  return [
    cell(text(predicted.median)),
    cell(text(measured.median), spreadTexts(measured, text)),
    cell(shareText(median), legs === 1 ? [] : [`worst ${signedShareText(worst)}`]),
  ];
}
