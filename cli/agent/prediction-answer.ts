/** The agent's answers to `predict`: a prediction, a VM's history of predictions, a plan by costs. */

import { OperationError } from "../errors.ts";
import { ageingOf, returnAfter } from "../predict/ageing-history.ts";
import { parseCostTable } from "../predict/cost-table.ts";
import { followCosts } from "../predict/follow-costs.ts";
import { historyErrors } from "../predict/history-errors.ts";
import { LegHistory } from "../store/leg-history.ts";
import type { Agent } from "./agent.ts";
import { checkMayLeave } from "./leg-context.ts";
import { estimateOf } from "./leg-record.ts";
import { type PlannedLeg, predictLegOf } from "./prediction.ts";

/** What is asked beside the leg. */
export interface PredictRequest extends PlannedLeg {
  readonly vm: string;
  /** Also what a return after so long would cost. */
  readonly awayMs: number | null;
  readonly when: {
    readonly text: string;
    readonly path: string;
    readonly from: number | null;
    readonly until: number | null;
  } | null;
}

/** Predicts the next leg. Throws OperationError. */
export async function answerPrediction(agent: Agent, request: PredictRequest): Promise<object> {
  const vm = agent.require(request.vm);
  const { to } = request;
  checkMayLeave(agent, vm.name, to, "migrate");
  if (!Object.hasOwn(agent.config.peers, to)) {
    const known = Object.keys(agent.config.peers).join(", ") || "none";
    throw new OperationError("failed", `Cannot predict a leg to ${to}: peers of this site: ${known}`);
  }
  const table = request.when && parseCostTable(request.when.text, request.when.path);
  const report = await predictLegOf(agent, vm, request, "thorough");
  const { prediction, memory, disks, link } = report;
  const { model } = prediction;
  const curve = ageingOf(report.legs);
  const notes = [...report.notes];
  if (curve === null && (request.awayMs !== null || table !== null)) {
    const missing = "how it ages is known from return legs of two different ages at least";
    if (table !== null) throw new OperationError("failed", `Cannot plan for ${vm.name}: ${missing}`);
    notes.push(`What a return would cost is not known: ${missing}`);
  }
  const estimate = estimateOf(report);
  return {
    event: "done",
    vm: vm.name,
    from: agent.config.site,
    to,
    leg: report.kind,
    tracking: report.tracking,
    converges: prediction.converges,
    rounds: prediction.rounds,
    predictedMs: estimate?.totalMs?.value ?? null,
    predictedWireBytes: estimate?.wireBytes?.value ?? null,
    prediction: estimate,
    breakEvenShare: prediction.breakEvenShare,
    changedShare: prediction.changedShare,
    restartMs: prediction.restartMs,
    basis: {
      link: {
        bytesPerSecond: Math.round(link.link.bytesPerSecond * link.link.efficiency),
        rateFrom: link.rateFrom,
        rttMs: Math.round(link.link.rttSeconds * 10_000) / 10,
        rttFrom: link.rttFrom,
        lossShare: link.link.lossShare,
        streams: link.link.streams,
      },
      memory: {
        from: report.memoryFrom,
        filledBytes: Math.round(memory.filledBytes),
        changedBytes: Math.round(memory.changedBytes),
        pageCost: memory.pageCost,
        dirtyPageCost: memory.dirtyPageCost,
        dirtyBytesPerSecond: Math.round(memory.writing.bytesPerSecond),
        workingSetBytes: Math.round(memory.writing.setBytes),
        sampledPages: memory.sampledPages,
      },
      disks,
      // A standing migration compares nothing: JSON has no infinity.
      compareBytesPerSecond: Number.isFinite(model.speeds.compareBytesPerSecond)
        ? Math.round(model.speeds.compareBytesPerSecond)
        : null,
      encodeBytesPerSecond: Math.round(model.speeds.encodeBytesPerSecond),
      fixedMs: Math.round(model.speeds.fixedSeconds * 1000),
      activateMs: Math.round(model.speeds.activateSeconds * 1000),
      legs: report.learnedLegs,
    },
    ageing: curve,
    away: curve && request.awayMs !== null ? returnAfter(model, curve, report.legs, request.awayMs) : null,
    plan:
      curve && table && request.when
        ? followCosts({
            table,
            site: agent.config.site,
            to,
            from: request.when.from,
            until: request.when.until,
            model,
            curve,
            legs: report.legs,
          })
        : null,
    notes,
    tookMs: report.tookMs,
  };
}

/** The legs of a VM out of this site, with what was predicted of them. */
export async function answerHistory(agent: Agent, name: string): Promise<object> {
  const vm = agent.require(name);
  const legs = await new LegHistory(vm.store.path).read();
  return { event: "done", vm: name, site: agent.config.site, ...historyErrors(legs) };
}
