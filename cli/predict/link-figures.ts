/**
 * What is known of the link to a peer: from the operator, from legs that have measured it, from the configuration, or a
 * guess. Each figure comes with how sure it is.
 */

import { type LinkModel, plainLink } from "../../src/predict/index.ts";
import { formatRate, formatTime } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import { middle } from "../middle.ts";
import type { VmLeg } from "./learned.ts";
import { shownEfficiency, shownRate, shownStart } from "./link-rate.ts";

/** What the operator gives for one prediction. */
export interface GivenLink {
  /** Bits a second. */
  readonly rate: number | null;
  readonly rttMs: number | null;
  /** Share of packets that are lost. */
  readonly loss: number | null;
}

/** What a link is taken for. */
export interface LinkFigures {
  readonly link: LinkModel;
  /** Spread of the rate, as that of its logarithm. */
  readonly rateSpread: number;
  readonly rttSpread: number;
  /** What somebody said that it carries, in bytes a second; null if nobody did. */
  readonly givenBytesPerSecond: number | null;
  /** In words: where rate and round trip come from. */
  readonly rateFrom: string;
  readonly rttFrom: string;
  /** True if the round trip is of this leg's link as it is now: measured, or given. */
  readonly isRttOfNow: boolean;
}

/** Sources of figures. */
export interface LinkSources {
  readonly given: GivenLink;
  readonly configured: { readonly rate?: number | undefined; readonly rtt?: number | undefined } | undefined;
  /** Legs to this peer, oldest first. */
  readonly legs: readonly VmLeg[];
  /** Of a ping now; null if there was no answer. */
  readonly pingMs: number | null;
  readonly streams: number;
  /** The leg's own limit, in bits a second. */
  readonly limit: number | null;
}

const recentLegs = 7;
const assumedRate = 100e6;
const assumedRttMs = 50;
/** A factor of ten either way. */
const unknownSpread = Math.log(10) / 1.28;
const fastestRate = 1e13;
const longestRttMs = 60_000;

/** Throws OperationError "usage" for figures that no link has. */
export function requireLink({ rate, rttMs, loss }: GivenLink): void {
  if (rate !== null && !(rate >= 1000 && rate <= fastestRate)) {
    refuse(`a link of ${formatRate(rate)}`, "from 1 kbit/s to 10 Tbit/s");
  }
  if (rttMs !== null && !(rttMs >= 0 && rttMs <= longestRttMs)) {
    refuse(`a round trip of ${formatTime(rttMs)}`, "at most a minute");
  }
  if (loss !== null && !(loss >= 0 && loss <= 0.5)) {
    refuse(`a loss of ${loss}`, "a share from 0 to 0.5, such as 0.001 for one packet of a thousand");
  }
}

function refuse(what: string, accepted: string): never {
  throw new OperationError("usage", `Cannot predict with ${what}: ${accepted} is possible`);
}

/** Puts the figures together. */
export function linkFigures(sources: LinkSources): LinkFigures {
  const { given, configured, legs, streams, limit } = sources;
  const recent = legs.slice(-recentLegs);
  const free = recent.filter((leg) => leg.limitBytesPerSecond === null);
  const measured = free.map((leg) => leg.bytesPerSecond);
  const measuredRate = shownRate(free);
  const efficiency = shownEfficiency(legs) ?? plainLink.efficiency;
  const saidRate = given.rate ?? configured?.rate ?? null;
  const rate = ((): Pick<LinkFigures, "rateSpread" | "rateFrom"> & {
    bytesPerSecond: number;
    efficiency: number;
  } => {
    if (given.rate !== null)
      return { bytesPerSecond: given.rate / 8, efficiency, rateSpread: 0.05, rateFrom: "given" };
    if (measuredRate !== null) {
      const rateSpread = Math.max(0.05, spreadOf(measured));
      const count = measured.filter((one) => one !== null).length;
      return {
        bytesPerSecond: measuredRate,
        efficiency: 1,
        rateSpread,
        rateFrom: `measured by ${count} legs`,
      };
    }
    if (saidRate !== null)
      return { bytesPerSecond: saidRate / 8, efficiency, rateSpread: 0.15, rateFrom: "configured" };
    return {
      bytesPerSecond: assumedRate / 8,
      efficiency,
      rateSpread: unknownSpread,
      rateFrom:
        "assumed: nothing is known of this link; give --link-rate, or peers.<site>.link in the configuration",
    };
  })();
  const capped =
    limit === null ? rate.bytesPerSecond : Math.min(rate.bytesPerSecond, limit / 8 / rate.efficiency);
  const rtt = roundTrip(sources);
  return {
    link: {
      ...plainLink,
      bytesPerSecond: Math.max(1, capped),
      efficiency: rate.efficiency,
      rttSeconds: rtt.ms / 1000,
      lossShare: given.loss ?? 0,
      streams,
      // Windows that large are normal where rates were measured: what was reached counts.
      windowBytes: rate.rateFrom.startsWith("measured") ? 1 << 28 : 16 << 20,
      // Where the host had nothing to send yet a start looks slower than the link is.
      initialBytes: shownStart(legs) ?? plainLink.initialBytes,
    },
    rateSpread: rate.rateSpread,
    rttSpread: rtt.spread,
    givenBytesPerSecond: saidRate === null ? null : saidRate / 8,
    rateFrom: rate.rateFrom,
    rttFrom: rtt.from,
    isRttOfNow: given.rttMs !== null || sources.pingMs !== null,
  };
}

function roundTrip({ given, configured, legs, pingMs }: LinkSources): {
  ms: number;
  spread: number;
  from: string;
} {
  if (given.rttMs !== null) return { ms: given.rttMs, spread: 0.02, from: "given" };
  if (pingMs !== null) return { ms: pingMs, spread: 0.05, from: "measured now" };
  const before = middle(legs.slice(-recentLegs).map((leg) => leg.rttMs));
  if (before !== null) return { ms: before, spread: 0.2, from: "measured by earlier legs" };
  if (configured?.rtt !== undefined) return { ms: configured.rtt, spread: 0.2, from: "configured" };
  return { ms: assumedRttMs, spread: unknownSpread, from: "assumed: the peer does not answer now" };
}

function spreadOf(values: readonly (number | null)[]): number {
  const logs = values
    .filter((value) => value !== null && value > 0)
    .map((value) => Math.log(value as number));
  if (logs.length < 2) return 0.15;
  const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length;
  return Math.sqrt(logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1));
}
