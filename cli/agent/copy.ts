/** A copy of a VM that stays here: a checkpoint, which the peer could restart, or a seed, which the next leg builds on. */

import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { messageOf, OperationError } from "../errors.ts";
import type { DivergencePolicy } from "../leg/divergence.ts";
import { sendHolders } from "../leg/holders-exchange.ts";
import type { CopyPurpose } from "../leg/leg-failure.ts";
import { SourceCheckpoint } from "../leg/source-checkpoint.ts";
import type { LegResult, SourceOutcome } from "../leg/source-context.ts";
import { SourceSeed } from "../leg/source-seed.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import type { Agent } from "./agent.ts";
import { tellPeers } from "./claims.ts";
import { completeFrozenImages, FrozenDisks } from "./frozen-disks.ts";
import { tidyGenerations, tidyIfOverdue } from "./housekeeping.ts";
import { baseLagOf, lagOf } from "./lag.ts";
import { checkMayLeave, type LegEvent, sourceLegContext } from "./leg-context.ts";
import type { Activity, ManagedVm, RunningQemu } from "./managed-vm.ts";
import { keepStanding } from "./standing.ts";
import { tidyInBackground } from "./tidy-images.ts";
import { legDisks } from "./vm-disks.ts";

const activityName = "sync";
/** A guest that changes faster than the link carries is told of; the next copy may find it at rest. */
const onDivergence: DivergencePolicy = "wait";

/** What the operator asks for. */
export interface CopyRequest {
  readonly purpose: CopyPurpose;
  readonly vm: string;
  readonly to: string;
  /** How long the VM may stand still for a checkpoint. */
  readonly downtimeLimitMs: number;
  /** A checkpoint is given up when the VM was not stopped for it by then, a seed when it is not complete; null: never. */
  readonly timeoutMs: number | null;
  /** How long it waits for a lost link. */
  readonly linkTimeoutMs: number;
  /** Highest rate of what is sent over the WAN, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
}

/** The last line of a copy. */
export interface CopyDone extends Omit<LegResult, "downtimeMs" | "tracking"> {
  readonly event: "done";
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  readonly purpose: CopyPurpose;
  /** From QEMU's STOP to its RESUME; 0 for a seed, unless QEMU found an idle guest. */
  readonly pauseMs: number;
  /** Age of the state that the peer has now, of a seed that of its oldest page. */
  readonly lagMs: number;
}

/**
 * Copies a VM's state to a peer as a generation that both hold then. Throws OperationError: "aborted" when there is none, "refused"
 * when this site does not own the VM or the peer does not take it. The VM runs on here in any case.
 */
export async function copyVm(
  agent: Agent,
  request: CopyRequest,
  signal: AbortSignal,
  onProgress: (event: LegEvent) => void,
): Promise<CopyDone> {
  const vm = agent.require(request.vm);
  const { name } = vm;
  const { to, timeoutMs } = request;
  checkMayLeave(agent, name, to, "copy");
  if (to === agent.config.site)
    throw new OperationError("usage", `Cannot copy ${name} to ${to}: it is there`);
  const work = vm.doing(activityName, async (activity) => {
    const record = await agent.ownership.read(name);
    if (record.state !== "owned") {
      const where = record.state === "away" ? `it has moved to ${record.peer}` : record.state;
      throw new OperationError("refused", `Cannot copy ${name}: this site does not own it (${where})`);
    }
    const qemu = vm.requireQemu();
    if (!(await isRunning(qemu.qmp))) throw new OperationError("failed", `Cannot copy ${name}: it is paused`);
    const late = new AbortController();
    const stop = AbortSignal.any([signal, activity.cancel.signal, late.signal]);
    const timer = timeoutMs === null ? undefined : setTimeout(() => late.abort(), timeoutMs);
    const onStopped = () => clearTimeout(timer);
    try {
      activity.state = "tidying";
      await tidyIfOverdue(agent, vm, stop);
      await completeFrozenImages(agent, vm, () => !stop.aborted);
      activity.state = "negotiating";
      return await runCopy(agent, vm, qemu, request, activity, { signal: stop, onProgress, onStopped });
    } catch (error) {
      if (!late.signal.aborted) throw error;
      throw new OperationError("aborted", lateness(request), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  });
  const done = await work.catch((error) => {
    // What it has frozen is completed in time for the next one.
    tidyInBackground(agent, vm);
    throw error;
  });
  if (!vm.tracking.isWatched) keepStanding(agent, vm);
  agent.background("Tidying generations", () => tidyGenerations(agent, vm));
  return done;
}

function lateness({ purpose, vm, timeoutMs }: CopyRequest): string {
  if (purpose === "seed") {
    return `No seed of ${vm} was made: it was not complete within ${timeoutMs} ms; allow more time or more bandwidth`;
  }
  return (
    `No checkpoint of ${vm} was made: there was no moment for a short pause within ${timeoutMs} ms; ` +
    "it changes faster than the link carries: allow a longer pause or more bandwidth"
  );
}

/** What a repeated copy came to. */
export type RepeatedCopy =
  | (CopyDone & { readonly outcome: "done" })
  | {
      readonly event: "done";
      /** `moved`: the VM is not this site's any more, and nothing follows. */
      readonly outcome: "skipped" | "failed" | "moved";
      readonly vm: string;
      readonly to: string;
      readonly why: string;
      /** Age of the newest state that the peer could restart, or that a seed could build on, as far as this site knows; null: none. */
      readonly lagMs: number | null;
    };

/** One of many copies: what is in the way is told, and is no error. Throws OperationError where none can ever be made. */
export async function repeatedCopy(
  agent: Agent,
  request: CopyRequest,
  signal: AbortSignal,
  onProgress: (event: LegEvent) => void,
): Promise<RepeatedCopy> {
  const vm = agent.require(request.vm);
  const { to, purpose } = request;
  checkMayLeave(agent, vm.name, to, "copy");
  const ended = async (outcome: "skipped" | "failed" | "moved", why: string) => {
    const lagMs = await (purpose === "seed" ? baseLagOf : lagOf)(vm.store, to);
    return { event: "done", outcome, vm: vm.name, to, why, lagMs } as const;
  };
  const { state, peer } = await agent.ownership.read(vm.name);
  if (vm.activity) return await ended("skipped", `${vm.activity.what} is under way`);
  if (state === "released") return await ended("skipped", `ownership is in doubt with ${peer}`);
  if (state !== "owned") return await ended("moved", peer ? `it is at ${peer}` : "it is not here");
  if (!(await vm.isRunningHere())) return await ended("skipped", "it does not run");
  try {
    return { ...(await copyVm(agent, request, signal, onProgress)), outcome: "done" };
  } catch (error) {
    const isFinal =
      error instanceof OperationError && (error.reason === "usage" || error.reason === "refused");
    if (isFinal) throw error;
    return await ended("failed", messageOf(error));
  }
}

async function runCopy(
  agent: Agent,
  vm: ManagedVm,
  qemu: RunningQemu,
  request: CopyRequest,
  activity: Activity,
  watch: Parameters<typeof sourceLegContext>[5],
): Promise<CopyDone> {
  const { config, log } = agent;
  const { to, purpose } = request;
  const legId = randomUUID();
  activity.leg = legId;
  const wish = { ...request, legId, startedAt: performance.now(), onDivergence, streams: 1 };
  const context = await sourceLegContext(agent, vm, qemu, wish, activity, watch);
  const disks = await legDisks(vm, qemu.qmp);
  const overlays = await FrozenDisks.prepare(vm, qemu.qmp, disks);
  const Leg = purpose === "seed" ? SourceSeed : SourceCheckpoint;
  const leg = new Leg({ ...context, disks }, () => overlays.freeze());
  let outcome: SourceOutcome;
  try {
    outcome = await leg.run();
  } catch (error) {
    activity.leg = null;
    if (leg.isKnownToPeer) agent.background(`Telling ${to}`, () => tellPeers(agent, vm));
    throw error;
  } finally {
    await overlays.settle();
  }
  if (outcome.outcome !== "done") throw new Error("a copy is never in doubt");
  const { connection, sealed, core, result } = outcome;
  try {
    if (sealed) {
      await noteGeneration(agent, vm, result.generation);
      const { key } = context;
      await sendHolders({ core, connection, store: vm.store, ownSite: config.site, key, current: sealed });
    }
  } catch (error) {
    log.warn({ vm: vm.name, to, reason: messageOf(error) }, "what sites hold could not be told");
  } finally {
    connection.close();
  }
  const { downtimeMs: pauseMs, tracking: _tracking, ...rest } = result;
  const about = { event: "done", vm: vm.name, from: config.site, to, purpose } as const;
  return { ...about, ...rest, pauseMs, lagMs: leg.stateAgeMs };
}

/** The VM stands on this generation from now on: what is compared with a base is compared with it. */
async function noteGeneration(agent: Agent, vm: ManagedVm, generation: number): Promise<void> {
  await vm.exclusively(async () => {
    const record = await agent.ownership.read(vm.name);
    if (record.state === "owned") await agent.ownership.write({ ...record, generation });
  });
}
