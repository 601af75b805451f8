/**
 * What a leg will take, by the equations of docs/MODEL.md.
 *
 *     budget   = max(T_lim / 4,  T_lim − k · τ − T_activate)
 *     downtime = (V_n + V_dev) / R + k · τ + T_activate
 *     total    = F + 1.5 · τ + Σ T_i + downtime
 *     wire     = (1 + o) · (Σ V_i + V_dev) + H
 */

import { type LinkModel, usableBytesPerSecond } from "./link.ts";
import { type HostSpeeds, requireLoad, type VmLoad } from "./load.ts";
import { requireWithin } from "./model-error.ts";
import { playRounds } from "./rounds.ts";

/** One leg to predict. */
export interface LegModel {
  readonly link: LinkModel;
  readonly load: VmLoad;
  readonly speeds: HostSpeeds;
  /** T_lim: how long the VM may stand still for what is left. */
  readonly downtimeLimitSeconds: number;
  readonly messages: MessageCosts;
}

/** What crosses the wire beside what a leg carries. */
export interface MessageCosts {
  /** H: bytes of a leg's messages, whatever it moves. */
  readonly bytes: number;
  /** o: framing, encryption and acknowledgements, for each byte that is carried. */
  readonly share: number;
}

/** A prediction. Seconds and bytes on the wire. Infinity where a leg would not end. */
export interface LegPrediction {
  readonly totalSeconds: number;
  /** If the leg does not converge: of a stop when what is left shrinks no more. */
  readonly downtimeSeconds: number;
  readonly wireBytes: {
    readonly pages: number;
    readonly blocks: number;
    readonly device: number;
    readonly messages: number;
    readonly total: number;
  };
  /** Rounds, the one after the stop included. */
  readonly rounds: number;
  readonly converges: boolean;
}

/** k: messages of the handover that cross the link while the VM stands still, in round trips (docs/PROTOCOL.md). */
export const handoverRoundTrips = 1.5;
/** What the peer holds is asked before the first page; its word that the VM runs is half a round trip on its way. */
const otherRoundTrips = 1.5;
/** The data may always take this part of the downtime limit, however far the peer is. */
const leastDataShare = 0.25;

/** Predicts a leg. Throws ModelError for parameters that cannot be. */
export function predictLeg({ link, load, speeds, downtimeLimitSeconds, messages }: LegModel): LegPrediction {
  requireLoad(load, speeds);
  requireWithin("a downtime limit in seconds", downtimeLimitSeconds, { min: 0 });
  const rate = usableBytesPerSecond(link);
  requireWithin("messages in bytes", messages.bytes, { min: 0 });
  requireWithin("a share of messages", messages.share, { min: 0, max: 1 });
  const { deviceBytes } = load;
  const fixedDowntime = handoverRoundTrips * link.rttSeconds + speeds.activateSeconds;
  const budgetSeconds = Math.max(downtimeLimitSeconds * leastDataShare, downtimeLimitSeconds - fixedDowntime);
  const withBudget = (seconds: number) =>
    playRounds(load, speeds, link, Math.max(0, seconds * rate - deviceBytes));
  let rounds = withBudget(budgetSeconds);
  // A guest that does not come down to it may use the whole limit for the data.
  if (!rounds.converges) rounds = withBudget(downtimeLimitSeconds);
  const lastBytes = rounds.lastPageBytes + rounds.lastBlockBytes + deviceBytes;
  const downtimeSeconds = lastBytes / rate + fixedDowntime;
  const pages = rounds.pageBytes + rounds.lastPageBytes;
  const blocks = rounds.blockBytes + rounds.lastBlockBytes;
  const carried = pages + blocks + deviceBytes;
  const messageBytes = messages.bytes + messages.share * carried;
  const wireBytes = {
    pages,
    blocks,
    device: deviceBytes,
    messages: messageBytes,
    total: carried + messageBytes,
  };
  const { converges } = rounds;
  return {
    totalSeconds: converges
      ? speeds.fixedSeconds + otherRoundTrips * link.rttSeconds + rounds.liveSeconds + downtimeSeconds
      : Number.POSITIVE_INFINITY,
    downtimeSeconds,
    wireBytes: converges ? wireBytes : endless(wireBytes),
    rounds: rounds.count + 1,
    converges,
  };
}

/** A leg that does not end sends without end. */
function endless(bytes: LegPrediction["wireBytes"]): LegPrediction["wireBytes"] {
  return { ...bytes, pages: Number.POSITIVE_INFINITY, total: Number.POSITIVE_INFINITY };
}
