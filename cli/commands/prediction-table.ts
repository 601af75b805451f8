/** Predictions as tables for people. */

import type { Estimate } from "../../src/predict/index.ts";
import { formatRate, formatSize, formatTime } from "../config/units.ts";
import type { ReturnCost } from "../predict/ageing-history.ts";
import type { FollowAnswer } from "../predict/follow-costs.ts";
import type { ErrorSpread, PredictedLeg } from "../predict/history-errors.ts";
import type { LegEstimate } from "../predict/leg-estimate.ts";
import { printTable } from "./output.ts";

/** What the agent answers to `predict`, as far as it is shown. */
export interface PredictionAnswer {
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  readonly leg: "first" | "return";
  readonly tracking: string;
  readonly converges: boolean;
  readonly rounds: number;
  readonly prediction: LegEstimate;
  readonly breakEvenShare: number;
  readonly changedShare: number;
  readonly restartMs: { readonly untilItRuns: number; readonly untilItIsWarm: number };
  readonly basis: {
    readonly link: {
      readonly bytesPerSecond: number;
      readonly rateFrom: string;
      readonly rttMs: number;
      readonly rttFrom: string;
    };
    readonly memory: {
      readonly from: string;
      readonly changedBytes: number;
      readonly pageCost: number;
      readonly dirtyBytesPerSecond: number;
      readonly workingSetBytes: number;
    };
    readonly disks: { readonly changedBytes: number; readonly blockCost: number } | null;
    readonly legs: number;
  };
  readonly away: ReturnCost | null;
  readonly plan: FollowAnswer | null;
  readonly notes: readonly string[];
}

/** What it answers about a VM's history. */
export interface HistoryAnswer {
  readonly legs: readonly PredictedLeg[];
  readonly time: ErrorSpread;
  readonly wireBytes: ErrorSpread;
}

const unending = "would not end";

/** One prediction. */
export function showPrediction(found: PredictionAnswer): void {
  const { prediction, basis, away } = found;
  const { link, memory, disks } = basis;
  printTable(
    ["FIELD", "PREDICTED", "FOUR OF FIVE WITHIN"],
    [
      row("total time", prediction.totalMs, formatTime),
      row("downtime", prediction.downtimeMs, formatTime),
      row("on the wire", prediction.wireBytes, formatSize),
      ["leg", `${found.leg}, ${found.from} to ${found.to}, ${found.rounds} rounds`, ""],
      ["restart there", `${formatTime(found.restartMs.untilItRuns)} until it runs`, ""],
      ["changed pages", percent(found.changedShare), `as long as all at ${percent(found.breakEvenShare)}`],
      ["memory", changedText(memory.changedBytes, memory.pageCost), `from ${memory.from}`],
      [
        "written to",
        `${formatSize(memory.dirtyBytesPerSecond)} a second`,
        `into ${formatSize(memory.workingSetBytes)}`,
      ],
      ...(disks ? [["disks", changedText(disks.changedBytes, disks.blockCost), ""]] : []),
      ["link", formatRate(link.bytesPerSecond * 8), link.rateFrom],
      ["round trip", formatTime(link.rttMs), link.rttFrom],
      ["learned from", `${basis.legs} legs`, ""],
      ...(away
        ? [
            [
              `return after ${formatTime(away.awayMs)}`,
              away.totalMs === null ? unending : formatTime(away.totalMs),
              `${percent(away.changedShare)} changed${away.wireBytes === null ? "" : `, ${formatSize(away.wireBytes)}`}`,
            ],
          ]
        : []),
    ],
  );
  if (found.plan) showPlan(found.plan);
}

/** All legs and their errors. */
export function showHistory({ legs, time, wireBytes }: HistoryAnswer): void {
  const rows = legs.map((leg) => [
    leg.at,
    leg.to,
    leg.kind,
    leg.predictedMs === null ? "-" : formatTime(leg.predictedMs),
    formatTime(leg.measuredMs),
    errorText(leg.timeError),
    leg.predictedWireBytes === null ? "-" : formatSize(leg.predictedWireBytes),
    formatSize(leg.measuredWireBytes),
    errorText(leg.wireError),
  ]);
  const summary = (name: string, of: "p50" | "p90") => [
    ...[name, "", "", "", "", errorText(time[of])],
    ...["", "", errorText(wireBytes[of])],
  ];
  printTable(
    ["BEGAN", "TO", "LEG", "PREDICTED", "TOOK", "ERROR", "PREDICTED", "ON THE WIRE", "ERROR"],
    [...rows, summary("half of them", "p50"), summary("nine of ten", "p90")],
  );
}

function showPlan(plan: FollowAnswer): void {
  printTable(
    ["MOVE AT", "FROM", "TO", "AFTER", "TAKES", "ON THE WIRE"],
    plan.moves.map((move) => [
      move.at,
      move.from,
      move.to,
      formatTime(move.stayMs),
      formatTime(move.totalMs),
      formatSize(move.wireBytes),
    ]),
  );
  const { preSeed } = plan;
  const amount = (value: number) => Number(value.toPrecision(6));
  printTable(
    ["PLAN", "COST"],
    [
      ["these moves", amount(plan.cost)],
      ["staying", amount(plan.stayCost)],
      ["moving once, now", amount(plan.moveOnceCost)],
      ["saved", plan.saving === null ? "-" : percent(plan.saving)],
      ["between two moves", plan.meanStayMs === null ? "-" : formatTime(plan.meanStayMs)],
      [
        "a leg after a day",
        `${formatTime(preSeed.without.totalMs)}; an hour after a pre-seed ${formatTime(preSeed.with.totalMs)}: ` +
          (preSeed.isWorthIt ? "it pays" : "it does not pay"),
      ],
    ],
  );
}

function row(name: string, estimate: Estimate | null, format: (value: number) => string): string[] {
  if (estimate === null) return [name, unending, ""];
  return [name, format(estimate.value), `${format(estimate.low)} to ${format(estimate.high)}`];
}

function changedText(bytes: number, cost: number): string {
  return `${formatSize(bytes)} differ, ${percent(cost)} of it on the wire`;
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}

function errorText(error: number | null): string {
  return error === null ? "-" : percent(error);
}
