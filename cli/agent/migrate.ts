/** A leg out of this site, from the operator's word to the retained generation. */

import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import { messageOf, OperationError } from "../errors.ts";
import type { DivergencePolicy } from "../leg/divergence.ts";
import { sendHolders } from "../leg/holders-exchange.ts";
import type { LegResult } from "../leg/source-context.ts";
import { SourceHandover } from "../leg/source-handover.ts";
import type { LegEstimate } from "../predict/leg-estimate.ts";
import type { GivenLink } from "../predict/link-figures.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import type { Agent } from "./agent.ts";
import { tellPeers } from "./claims.ts";
import { completeFrozenImages } from "./frozen-disks.ts";
import { tidyGenerations, tidyIfOverdue } from "./housekeeping.ts";
import {
  checkMayLeave,
  type LegEvent,
  type LegWatch,
  type LegWish,
  sourceLegContext,
} from "./leg-context.ts";
import { estimateOf, recordLeg } from "./leg-record.ts";
import { type Activity, legActivity, type ManagedVm, type RunningQemu } from "./managed-vm.ts";
import { type PredictionReport, predictLegOf } from "./prediction.ts";
import { settle, settleInBackground } from "./settle.ts";
import { legDisks } from "./vm-disks.ts";

/** How long a leg waits for a lost link, unless the operator says otherwise, in milliseconds. */
export const defaultLinkTimeoutMs = 600_000;

/** What the operator asks for. */
export interface MigrateRequest {
  readonly vm: string;
  readonly to: string;
  readonly downtimeLimitMs: number;
  /** The leg is given up when it has not come to the switchover by then; null: never. */
  readonly timeoutMs: number | null;
  /** How long the leg waits for a lost link while the VM runs. */
  readonly linkTimeoutMs: number;
  /** Highest rate of what is sent over the WAN, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
  /** What is done if the guest changes faster than the link carries. */
  readonly onDivergence: DivergencePolicy;
  /** Connections that its frames may use, 1 to 16. */
  readonly streams: number;
  /** What the operator says of the link: for the prediction only. */
  readonly link: GivenLink;
}

/** The last line of a migration. */
export interface MigrateDone extends LegResult {
  readonly event: "done";
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  /** What was predicted before the first byte; null only where nothing at all was known. */
  readonly predictedMs: number | null;
  readonly predictedWireBytes: number | null;
  /** The same with intervals that four of five legs are expected in. */
  readonly prediction: LegEstimate | null;
}

/**
 * Migrates a VM to a peer. Throws OperationError: "aborted" when it stays here, "inDoubt" when the peer did not
 * answer after the VM was released, "refused" when this site does not own it or the peer does not take it.
 */
export async function migrate(
  agent: Agent,
  request: MigrateRequest,
  signal: AbortSignal,
  onProgress: (event: LegEvent) => void,
): Promise<MigrateDone> {
  const startedAt = performance.now();
  const vm = agent.require(request.vm);
  checkMayLeave(agent, vm.name, request.to, "migrate");
  return await vm.doing(legActivity, async (activity) => {
    const record = await agent.ownership.read(vm.name);
    if (record.state !== "owned") {
      throw new OperationError(
        "refused",
        `Cannot migrate ${vm.name}: this site does not own it (${record.state})`,
      );
    }
    const qemu = vm.requireQemu();
    if (!(await isRunning(qemu.qmp)))
      throw new OperationError("failed", `Cannot migrate ${vm.name}: it is paused`);
    if (request.to === agent.config.site) {
      throw new OperationError("usage", `Cannot migrate ${vm.name} to ${request.to}: it is there`);
    }
    const late = new AbortController();
    const stop = AbortSignal.any([signal, activity.cancel.signal, late.signal]);
    const timer = request.timeoutMs === null ? undefined : setTimeout(() => late.abort(), request.timeoutMs);
    const onStopped = () => clearTimeout(timer);
    try {
      activity.state = "tidying";
      await tidyIfOverdue(agent, vm, stop);
      await completeFrozenImages(agent, vm, () => !stop.aborted);
      activity.state = "negotiating";
      // While the peer is asked what it holds; nothing of the VM is sent before it is done.
      const predicted = predictLegOf(agent, vm, request, "quick").catch((error) => {
        agent.log.warn({ vm: vm.name, reason: messageOf(error) }, "cannot predict the leg");
        return null;
      });
      const watch = { signal: stop, onProgress, onStopped };
      const result = await runLeg(
        agent,
        vm,
        qemu,
        { ...request, startedAt, predicted },
        activity,
        watch,
      ).finally(() => predicted);
      const report = await predicted;
      await recordLeg(vm, request, report, result).catch((error) => {
        agent.log.warn({ vm: vm.name, reason: messageOf(error) }, "cannot record what the leg took");
      });
      return doneOf(agent, request, result, report);
    } catch (error) {
      if (late.signal.aborted && error instanceof OperationError && error.reason === "aborted") {
        throw new OperationError(
          "aborted",
          `Migration aborted, ${vm.name} stays at ${agent.config.site}: no switchover within ${request.timeoutMs} ms; ` +
            "it changes faster than the link carries: allow a longer downtime or more bandwidth",
          { cause: error },
        );
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  });
}

async function runLeg(
  agent: Agent,
  vm: ManagedVm,
  qemu: RunningQemu,
  request: MigrateRequest & Pick<LegWish, "startedAt" | "predicted">,
  activity: Activity,
  watch: LegWatch,
): Promise<LegResult> {
  const { log } = agent;
  const legId = randomUUID();
  activity.leg = legId;
  const leg = new SourceHandover({
    ...(await sourceLegContext(agent, vm, qemu, { ...request, legId }, activity, watch)),
    disks: await legDisks(vm, qemu.qmp),
    standing: await vm.tracking.forLeg(),
  });
  const outcome = await leg.run().catch((error) => {
    activity.leg = null;
    // Where a connection was lost the peer may not have heard of it, and would wait for the leg.
    if (leg.isKnownToPeer) agent.background(`Telling ${request.to}`, () => tellPeers(agent, vm));
    throw error;
  });
  if (outcome.outcome === "in-doubt") {
    const settled = await settle(agent, vm);
    if (settled === "unknown") {
      agent.background(`Settling ${vm.name}`, () => settleInBackground(agent, vm, agent.ending));
      throw new OperationError(
        "inDoubt",
        `Ownership of ${vm.name} is in doubt: ${request.to} did not confirm that it runs there. It stays stopped here; ` +
          "the agent asks again until the peer answers",
      );
    }
    if (settled === "taken-back" && !(await vm.isRunningHere())) {
      throw new OperationError(
        "failed",
        `Migration failed: ${request.to} could not run ${vm.name}, and it cannot run on here yet; the agent's log says why, ` +
          "and it is tried again and again",
      );
    }
    if (settled === "taken-back") {
      throw new OperationError(
        "aborted",
        `Migration aborted: ${request.to} could not run ${vm.name}; it runs here again`,
      );
    }
    log.warn(
      { vm: vm.name, to: request.to },
      "it runs there; the connection was lost before the peer said so",
    );
    agent.background("Tidying generations", () => tidyGenerations(agent, vm));
    return outcome.resultIfThere();
  }
  const { connection, sealed, core, result } = outcome;
  agent.background(`Telling ${request.to} what other sites hold`, async () => {
    try {
      if (sealed) {
        const key = await agent.keys.readOrMake(vm.name);
        await sendHolders({
          core,
          connection,
          store: vm.store,
          ownSite: agent.config.site,
          key,
          current: sealed,
        });
      }
    } finally {
      connection.close();
      await tidyGenerations(agent, vm);
    }
  });
  return result;
}

function doneOf(
  { config }: Agent,
  { vm, to }: MigrateRequest,
  result: LegResult,
  report: PredictionReport | null,
): MigrateDone {
  const prediction = estimateOf(report);
  const fields = { event: "done", vm, from: config.site, to } as const;
  return {
    ...fields,
    ...result,
    predictedMs: prediction?.totalMs?.value ?? null,
    predictedWireBytes: prediction?.wireBytes?.value ?? null,
    prediction,
  };
}
