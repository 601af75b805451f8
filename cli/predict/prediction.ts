/** From facts to a prediction with intervals: the model's figures, what earlier errors say of them, and what is not known well. */

import {
  breakEvenShare,
  type Calibration,
  calibrate,
  type Estimate,
  type HostSpeeds,
  type LegModel,
  type LegPrediction,
  predictLeg,
  restartSeconds,
  type VmLoad,
} from "../../src/predict/index.ts";
import type { DiskFacts } from "./disk-facts.ts";
import { encodingSeconds, sampleSpeed } from "./encoding.ts";
import type { Learned, VmLeg } from "./learned.ts";
import type { LegEstimate } from "./leg-estimate.ts";
import type { LinkFigures } from "./link-figures.ts";
import type { MemoryFacts } from "./memory-facts.ts";

/** What a prediction is made from. */
export interface PredictionInputs {
  readonly kind: "first" | "return";
  readonly tracking: "standing" | "scan";
  readonly memoryBytes: number;
  readonly memory: MemoryFacts;
  /** How far the amounts of the memory may be off beside the sample, as a spread of the logarithm. */
  readonly memorySpread: number;
  readonly disks: DiskFacts | null;
  readonly link: LinkFigures;
  readonly learned: Learned;
  readonly downtimeLimitMs: number;
  /** What this prediction has taken so far, which its leg waits for; null if no leg does. */
  readonly spentSeconds: number | null;
  /** Earlier legs to that peer. */
  readonly legs: readonly VmLeg[];
}

/** A prediction. */
export interface Prediction extends LegEstimate {
  readonly converges: boolean;
  readonly rounds: number;
  /** The model's own figures, before earlier errors; null where it does not end. */
  readonly modelled: {
    readonly totalMs: number;
    readonly downtimeMs: number;
    readonly wireBytes: number;
  } | null;
  /** Share of changed pages at which a return leg takes as long as a full one. */
  readonly breakEvenShare: number;
  readonly changedShare: number;
  readonly restartMs: { readonly untilItRuns: number; readonly untilItIsWarm: number };
  readonly model: LegModel;
}

/** The 90 % quantile of the normal distribution, as `calibrate` has it. */
const quantile = 1.2815515655446004;
/** Legs after which the learned figures hold. */
const tellingLegs = 4;

/** Predicts. Throws ModelError for figures that cannot be. */
export function predict(inputs: PredictionInputs): Prediction {
  const { kind, link, learned, downtimeLimitMs } = inputs;
  const load = loadOf(inputs);
  const model: LegModel = {
    link: link.link,
    load,
    speeds: speedsOf(inputs),
    downtimeLimitSeconds: downtimeLimitMs / 1000,
    messages: learned.messages,
  };
  const found = predictLeg(model);
  const full: LegModel = { ...model, load: { ...load, changedPageShare: 1 } };
  return {
    ...estimate(inputs, model, found),
    converges: found.converges,
    rounds: found.rounds,
    modelled: found.converges
      ? {
          totalMs: found.totalSeconds * 1000,
          downtimeMs: found.downtimeSeconds * 1000,
          wireBytes: found.wireBytes.total,
        }
      : null,
    breakEvenShare: kind === "first" ? 1 : breakEvenShare(model, predictLeg(full).totalSeconds),
    changedShare: load.changedPageShare,
    restartMs: inMilliseconds(restartSeconds(model)),
    model,
  };
}

function speedsOf({ kind, tracking, memory, link, learned, spentSeconds }: PredictionInputs): HostSpeeds {
  const { speeds, encoding, predictSeconds, askSeconds } = learned;
  const { changedBytes, pageCost, encodeBytesPerSecond: sampleBytesPerSecond } = memory;
  const frameBytes = changedBytes * pageCost;
  const seconds = encodingSeconds({ kind, changedBytes, frameBytes, sampleBytesPerSecond }, encoding);
  const idle = sampleSpeed(sampleBytesPerSecond, encoding.usual) / encoding.alone;
  // The peer is asked while the guest is looked at; the round trip of that is the equation's own.
  const waiting = Math.max((spentSeconds ?? predictSeconds) - link.link.rttSeconds, askSeconds);
  return {
    ...speeds,
    ...(tracking === "standing" && { compareBytesPerSecond: Number.POSITIVE_INFINITY }),
    fixedSeconds: speeds.fixedSeconds + waiting,
    encodeBytesPerSecond: changedBytes > 0 ? changedBytes / seconds : idle,
  };
}

/** The load that the facts are. */
function loadOf({ memory, disks, memoryBytes, learned }: PredictionInputs): VmLoad {
  const filled = Math.min(memoryBytes, Math.max(memory.filledBytes, memory.changedBytes));
  const setBytes = Math.min(memoryBytes, memory.writing.setBytes);
  return {
    memoryBytes,
    zeroShare: 1 - filled / memoryBytes,
    changedPageShare: filled === 0 ? 0 : Math.min(1, memory.changedBytes / filled),
    pageCost: memory.pageCost,
    dirtyPageCost: memory.dirtyPageCost,
    dirtyBytesPerSecond: memory.writing.bytesPerSecond,
    workingSetBytes: setBytes,
    diskBytes: disks?.markedBytes ?? 0,
    changedBlockShare:
      disks && disks.markedBytes > 0 ? Math.min(1, disks.changedBytes / disks.markedBytes) : 0,
    blockCost: disks?.blockCost ?? 1,
    dirtyDiskBytesPerSecond: 0,
    deviceBytes: learned.deviceBytes,
  };
}

function estimate(inputs: PredictionInputs, model: LegModel, found: LegPrediction): LegEstimate {
  const { legs } = inputs;
  const outcomes = (of: (leg: VmLeg) => { predicted: number; measured: number } | null) =>
    calibrate(legs.filter(isTelling).flatMap((leg) => of(leg) ?? []));
  const total = outcomes(
    ({ modelled, measured }) => modelled && { predicted: modelled.totalMs, measured: measured.totalMs },
  );
  const downtime = outcomes(
    ({ modelled, measured }) => modelled && { predicted: modelled.downtimeMs, measured: measured.downtimeMs },
  );
  const wire = outcomes(
    ({ modelled, measured }) => modelled && { predicted: modelled.wireBytes, measured: measured.wireBytes },
  );
  const doubt = doubtOf(inputs, model, found);
  return {
    totalMs: found.converges ? widen(around(found.totalSeconds * 1000, total), doubt.total) : null,
    downtimeMs: widen(around(found.downtimeSeconds * 1000, downtime), doubt.downtime),
    wireBytes: found.converges ? widen(around(found.wireBytes.total, wire), doubt.wire) : null,
  };
}

/** What was predicted before anything was learned says nothing of what is predicted now. */
function isTelling({ learnedLegs }: VmLeg): boolean {
  return learnedLegs >= tellingLegs;
}

/**
 * The interval that earlier errors make. The value stays the model's: what they have in common is learned as its
 * parameters, and what is left of it on a few legs is more often chance.
 */
function around(value: number, { low, high }: Calibration): Estimate {
  return { value, low: value * Math.min(1, low), high: value * Math.max(1, high) };
}

/** How far the figures move with what is not known well, each as a spread of its logarithm. */
function doubtOf(inputs: PredictionInputs, model: LegModel, found: LegPrediction) {
  const { memory, memorySpread, disks, link } = inputs;
  const { load } = model;
  const filled = load.memoryBytes * (1 - load.zeroShare);
  const amount = Math.hypot(memory.changedDeviation, memory.changedBytes * memorySpread);
  const share = filled === 0 ? 0 : Math.min(1, load.changedPageShare + amount / filled);
  const blocks = disks && disks.markedBytes > 0 ? disks.changedDeviation / disks.markedBytes : 0;
  const variants: LegModel[] = [
    { ...model, load: { ...load, changedPageShare: share } },
    { ...model, load: { ...load, changedBlockShare: Math.min(1, load.changedBlockShare + blocks) } },
    {
      ...model,
      link: {
        ...model.link,
        bytesPerSecond: Math.max(1, model.link.bytesPerSecond * Math.exp(-link.rateSpread)),
      },
    },
    { ...model, link: { ...model.link, rttSeconds: model.link.rttSeconds * Math.exp(link.rttSpread) } },
  ];
  const moved = { total: 0, downtime: 0, wire: 0 };
  for (const variant of variants) {
    const other = predictLeg(variant);
    if (!other.converges || !found.converges) continue;
    moved.total += Math.log(other.totalSeconds / found.totalSeconds) ** 2;
    moved.downtime += Math.log(other.downtimeSeconds / found.downtimeSeconds) ** 2;
    moved.wire += Math.log(other.wireBytes.total / found.wireBytes.total) ** 2;
  }
  return { total: Math.sqrt(moved.total), downtime: Math.sqrt(moved.downtime), wire: Math.sqrt(moved.wire) };
}

/** Adds a spread to an interval, independent of what made it. */
function widen({ value, low, high }: Estimate, spread: number): Estimate {
  if (value <= 0) return { value: 0, low: 0, high: Math.max(0, Math.round(high)) };
  const reach = (end: number) =>
    Math.hypot(Math.log(Math.max(end, Number.MIN_VALUE) / value), quantile * spread);
  return {
    value: Math.round(value),
    low: Math.round(value * Math.exp(-reach(low))),
    high: Math.round(Math.min(Number.MAX_SAFE_INTEGER, value * Math.exp(reach(high)))),
  };
}

function inMilliseconds({ untilItRuns, untilItIsWarm }: ReturnType<typeof restartSeconds>) {
  return { untilItRuns: Math.round(untilItRuns * 1000), untilItIsWarm: Math.round(untilItIsWarm * 1000) };
}
