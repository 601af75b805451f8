/** A leg out of this site, from the operator's word to the retained generation. */

import { randomUUID } from "node:crypto";
import { mayReceive } from "../config/permissions.ts";
import { OperationError } from "../errors.ts";
import { sendHolders } from "../leg/holders-exchange.ts";
import type { ProgressEvent } from "../leg/progress.ts";
import type { LegResult } from "../leg/source-context.ts";
import { SourceLeg } from "../leg/source-leg.ts";
import { isRunning } from "../qemu/qmp-client.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { Agent } from "./agent.ts";
import { tellPeers } from "./claims.ts";
import { tidyGenerations } from "./housekeeping.ts";
import { type Activity, endQemu, type ManagedVm, type RunningQemu } from "./managed-vm.ts";
import { settle, settleInBackground } from "./settle.ts";
import { legDisks } from "./vm-disks.ts";
import { acceleratorOf, ownRamBlock } from "./vm-launch.ts";

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
  /** Highest rate of frames on the WAN, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
}

/** A line before the last one. */
export type LegEvent =
  | ProgressEvent
  | { readonly event: "state"; readonly state: string }
  | { readonly event: "link"; readonly link: "up" | "lost" };

/** The last line of a migration. */
export interface MigrateDone extends LegResult {
  readonly event: "done";
  readonly vm: string;
  readonly from: string;
  readonly to: string;
  /** No model predicts yet. */
  readonly predictedMs: null;
  readonly predictedWireBytes: null;
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
  const vm = agent.require(request.vm);
  checkMayLeave(agent, vm.name, request.to);
  return await vm.doing("migrate", async (activity) => {
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
      return await runLeg(agent, vm, qemu, request, activity, { signal: stop, onProgress, onStopped });
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

/** Default deny. A peer that is not known at all is told as such when it is dialled. */
function checkMayLeave({ config }: Agent, vm: string, peer: string): void {
  if (!Object.hasOwn(config.peers, peer) || mayReceive(config.peers, peer, vm)) return;
  throw new OperationError(
    "refused",
    `Cannot migrate ${vm} to ${peer}: site ${config.site} does not allow it; add ${vm} to peers.${peer}.mayReceive ` +
      "in its configuration and restart the agent",
  );
}

/** How a leg is watched. */
interface LegWatch {
  readonly signal: AbortSignal;
  readonly onProgress: (event: LegEvent) => void;
  /** The VM is stopped for the switchover: no time limit ends the leg any more. */
  readonly onStopped: () => void;
}

async function runLeg(
  agent: Agent,
  vm: ManagedVm,
  qemu: RunningQemu,
  request: MigrateRequest,
  activity: Activity,
  watch: LegWatch,
): Promise<MigrateDone> {
  const { signal, onProgress, onStopped } = watch;
  const { config, log } = agent;
  const paced = (connection: PeerConnection) => {
    if (request.bitsPerSecond !== null) connection.limitRate(request.bitsPerSecond / 8);
    return connection;
  };
  const legId = randomUUID();
  activity.leg = legId;
  const leg = new SourceLeg({
    legId,
    site: config.site,
    peer: request.to,
    definition: vm.definition,
    ramBlock: ownRamBlock,
    accelerator: await acceleratorOf(qemu.qmp),
    qmp: qemu.qmp,
    store: vm.store,
    ownership: agent.ownership,
    key: await agent.keys.readOrMake(vm.name),
    disks: await legDisks(vm, qemu.qmp),
    runPath: vm.runPath,
    downtimeLimitMs: request.downtimeLimitMs,
    signal,
    connect: async () => paced(await agent.connect(request.to)),
    reconnect: async () => paced(await agent.dialPeer(request.to)),
    linkTimeoutMs: request.linkTimeoutMs,
    onLink: (isUp) => onProgress({ event: "link", link: isUp ? "up" : "lost" }),
    onProgress: (event) => {
      activity.progress = event;
      onProgress(event);
    },
    onState: (state) => {
      activity.state = state;
      log.info({ vm: vm.name, to: request.to, state }, "leg");
      onProgress({ event: "state", state });
      if (state === "stopped") onStopped();
    },
    warn: (message) => log.warn({ vm: vm.name }, message),
    endQemu: () => endQemu(vm, qemu),
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
    return doneOf(agent, request, outcome.resultIfThere());
  }
  const { connection, sealed, core, result } = outcome;
  agent.background(`Telling ${request.to} what other sites hold`, async () => {
    try {
      if (sealed) {
        const key = await agent.keys.readOrMake(vm.name);
        await sendHolders({ core, connection, store: vm.store, ownSite: config.site, key, current: sealed });
      }
    } finally {
      connection.close();
      await tidyGenerations(agent, vm);
    }
  });
  return doneOf(agent, request, result);
}

function doneOf({ config }: Agent, { vm, to }: MigrateRequest, result: LegResult): MigrateDone {
  const fields = { event: "done", vm, from: config.site, to } as const;
  return { ...fields, ...result, predictedMs: null, predictedWireBytes: null };
}
