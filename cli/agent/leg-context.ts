/** What a leg out of this site needs of the agent, whether it hands the VM over or copies it. */

import { mayReceive } from "../config/permissions.ts";
import { OperationError } from "../errors.ts";
import type { DivergenceEvent, DivergencePolicy } from "../leg/divergence.ts";
import type { ProgressEvent } from "../leg/progress.ts";
import type { SourceLegContext } from "../leg/source-context.ts";
import type { Agent } from "./agent.ts";
import { type Activity, endQemu, guestProcessOf, type ManagedVm, type RunningQemu } from "./managed-vm.ts";
import { acceleratorOf, ownRamBlock } from "./vm-launch.ts";

/** A line before the last one. */
export type LegEvent =
  | ProgressEvent
  | DivergenceEvent
  | { readonly event: "state"; readonly state: string }
  | { readonly event: "link"; readonly link: "up" | "lost" };

/** How a leg is watched. */
export interface LegWatch {
  readonly signal: AbortSignal;
  readonly onProgress: (event: LegEvent) => void;
  /** The VM is stopped, or a seed is complete: no time limit ends the leg any more. */
  readonly onStopped: () => void;
}

/** What the operator has said of it. */
export interface LegWish {
  /** A UUID. */
  readonly legId: string;
  /** When the operator asked for it, by `performance.now()`. */
  readonly startedAt: number;
  /** What the leg has to wait for before it sends anything of the VM. */
  readonly predicted?: Promise<unknown>;
  readonly to: string;
  readonly downtimeLimitMs: number;
  readonly linkTimeoutMs: number;
  readonly bitsPerSecond: number | null;
  readonly onDivergence: DivergencePolicy;
  readonly streams: number;
}

/**
 * Default deny; `what` is the operator's word for it. A peer that is not known at all is told as such when it is dialled.
 * Throws OperationError "refused".
 */
export function checkMayLeave({ config }: Agent, vm: string, peer: string, what: string): void {
  if (!Object.hasOwn(config.peers, peer) || mayReceive(config.peers, peer, vm)) return;
  throw new OperationError(
    "refused",
    `Cannot ${what} ${vm} to ${peer}: site ${config.site} does not allow it; add ${vm} to peers.${peer}.mayReceive ` +
      "in its configuration and restart the agent",
  );
}

/** All but the disks, and a migration that may stand open. */
export async function sourceLegContext(
  agent: Agent,
  vm: ManagedVm,
  qemu: RunningQemu,
  wish: LegWish,
  activity: Activity,
  { signal, onProgress, onStopped }: LegWatch,
): Promise<Omit<SourceLegContext, "disks" | "standing">> {
  const { config, log } = agent;
  const { legId, startedAt, predicted, to, bitsPerSecond } = wish;
  return {
    legId,
    startedAt,
    ...(predicted && { predicted }),
    site: config.site,
    peer: to,
    definition: vm.definition,
    ramBlock: ownRamBlock,
    accelerator: await acceleratorOf(qemu.qmp),
    qmp: qemu.qmp,
    guest: guestProcessOf(qemu),
    store: vm.store,
    ownership: agent.ownership,
    key: await agent.keys.readOrMake(vm.name),
    runPath: vm.runPath,
    downtimeLimitMs: wish.downtimeLimitMs,
    onDivergence: wish.onDivergence,
    bitsPerSecond,
    signal,
    connect: () => agent.connect(to),
    reconnect: () => agent.dialPeer(to),
    streams: wish.streams,
    bytesPerSecond: bitsPerSecond === null ? null : bitsPerSecond / 8,
    linkTimeoutMs: wish.linkTimeoutMs,
    onLink: (isUp) => onProgress({ event: "link", link: isUp ? "up" : "lost" }),
    onProgress: (event) => {
      activity.progress = event;
      onProgress(event);
    },
    diverged: (event) => {
      log.warn({ vm: vm.name, to, policy: event.policy }, event.message);
      onProgress(event);
    },
    onState: (state) => {
      activity.state = state;
      log.info({ vm: vm.name, to, state }, "leg");
      onProgress({ event: "state", state });
      if (state === "stopped" || state === "keeping") onStopped();
    },
    warn: (message) => log.warn({ vm: vm.name }, message),
    endQemu: () => endQemu(vm, qemu),
  };
}
