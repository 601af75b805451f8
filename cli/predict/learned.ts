/**
 * What past legs say of the hosts, the link and the cost of messages. A figure that no leg has shown has a default, and a
 * spread that says how little is known. Middle values, as a single leg may have met a busy machine.
 */

import {
  type HostSpeeds,
  type LinkModel,
  type MessageCosts,
  plainLink,
  transferSeconds,
} from "../../src/predict/index.ts";
import { middle, upper } from "../middle.ts";
import type { LegRecord } from "../store/leg-history.ts";
import { type EncodingFactors, encodingSeconds, learnEncoding, loadOf, usualEncoding } from "./encoding.ts";
import { busyRate, shownRate, shownStart } from "./link-rate.ts";

/** Legs of the same way that count, the newest ones. */
const rememberedLegs = 30;
/** QEMU looks so often whether it may stop the VM. */
const roundSeconds = 0.1;
/** What a pass over the memory takes whatever is in it: QEMU says its first page late, and looks late whether it is at the end. */
const passSeconds = 0.08;
/** What disks add to a leg's fixed time while no such leg has told. */
const diskSeconds = 0.3;
/** Legs of the same kind that tell more than all others. */
const tellingLegs = 2;
const handoverRoundTrips = 1.5;
/** The peer's word that the VM runs is on its way. */
const lastRoundTrips = 0.5;
/** The peer was waited for, and not the prediction, if its answer came so much later: a busy process is late as well. */
const tellingMs = 30;
/** A first pass that took this much longer than the link needed was limited by the host. */
const hostLimited = 1.5;

/** Memories of less than this share of the largest one say little of how fast they are compared. */
const largeMemory = 0.75;
/** A leg with less than this share of the memory to encode says nothing of how long that takes. */
const encodedShare = 0.3;

/** Before any leg. */
const defaults = {
  compareBytesPerSecond: 1e9,
  predictSeconds: 0.2,
  askSeconds: 0.08,
  readBytesPerSecond: 200e6,
  writeBytesPerSecond: 150e6,
  fixedSeconds: 0.3,
  activateSeconds: 0.15,
} as const;
const defaultMessages: MessageCosts = { bytes: 4_500, share: 0.002 };
const defaultDeviceBytes = { first: 30_000, return: 15_000 } as const;

/** What was learned. */
export interface Learned {
  readonly speeds: Omit<HostSpeeds, "encodeBytesPerSecond">;
  readonly encoding: EncodingFactors;
  /** What a leg waits for before its first page: its prediction, and, beside the round trip, the peer's answer. */
  readonly predictSeconds: number;
  readonly askSeconds: number;
  readonly messages: MessageCosts;
  readonly deviceBytes: number;
  /** Legs that it stands on. */
  readonly legs: number;
}

/** The way that a leg will go. */
export interface LegWay {
  readonly kind: "first" | "return";
  readonly vm: string;
  readonly hasDisks: boolean;
}

/** A leg of any VM of this site. */
export interface VmLeg extends LegRecord {
  readonly vm: string;
}

/** The newest legs to a peer, oldest first; those of other peers where there are none: the host at this end is the same. */
export function legsTowards(legs: readonly VmLeg[], to: string): readonly VmLeg[] {
  const there = legs.filter((leg) => leg.to === to);
  return (there.length > 0 ? there : legs).toSorted((a, b) => (a.at < b.at ? -1 : 1)).slice(-rememberedLegs);
}

/** Learns from legs as `legsTowards` gives them. */
export function learn(legs: readonly VmLeg[], way: LegWay): Learned {
  const compare = compareSpeed(legs);
  const encoding = learnEncoding(legs.map((leg) => [leg, encodedSeconds(leg, legs, compare)] as const));
  // Exports and bitmaps of disks take their time whatever is on them.
  const alike = legs.filter((leg) => leg.disks > 0 === way.hasDisks);
  const activate =
    middle((alike.length >= tellingLegs ? alike : legs).map(activateOf)) ?? defaults.activateSeconds;
  const fixedTimes = (some: readonly LegRecord[]) =>
    middle(some.map((leg) => fixedOf(leg, legs, compare, encoding)));
  const fixed =
    (alike.length >= tellingLegs ? fixedTimes(alike) : null) ??
    (fixedTimes(legs) ?? defaults.fixedSeconds) + (way.hasDisks ? diskSeconds : 0);
  return {
    speeds: {
      compareBytesPerSecond: compare,
      readBytesPerSecond: defaults.readBytesPerSecond,
      writeBytesPerSecond: defaults.writeBytesPerSecond,
      roundSeconds,
      fixedSeconds: Math.max(0, fixed),
      activateSeconds: Math.max(0, activate),
    },
    encoding,
    predictSeconds: middle(legs.map(predictionOf)) ?? defaults.predictSeconds,
    askSeconds: Math.min(shownAsking(legs) ?? defaults.askSeconds, ...legs.map(mostAskingOf)),
    messages: learnMessages(legs),
    deviceBytes: learnDevice(legs, way),
    legs: legs.length,
  };
}

/** Bytes of the first round trip of a connection, from how long the first bytes took; null if they do not tell. */
export function initialBytesOf(
  start: { readonly bytes: number; readonly ms: number } | null,
  bytesPerSecond: number | null,
  rttMs: number | null,
): number | null {
  // On a short way the time says more of the hosts than of TCP.
  if (start === null || bytesPerSecond === null || rttMs === null || rttMs < 10) return null;
  const seconds = Math.max(0, start.ms - rttMs) / 1000;
  let low = plainLink.initialBytes;
  let high = start.bytes;
  const needs = (initialBytes: number) =>
    transferSeconds(start.bytes, linkOf(bytesPerSecond, rttMs, initialBytes));
  if (needs(high) >= seconds) return Math.max(start.bytes, 512 * 1024);
  if (needs(low) <= seconds) return low;
  for (let i = 0; i < 30; i++) {
    const between = Math.sqrt(low * high);
    if (needs(between) > seconds) low = between;
    else high = between;
  }
  return Math.round(high);
}

/** How the legs' link was: measured while they went over it. */
function linkOf(bytesPerSecond: number, rttMs: number, initialBytes: number): LinkModel {
  return {
    ...plainLink,
    efficiency: 1,
    bytesPerSecond,
    rttSeconds: rttMs / 1000,
    initialBytes,
    windowBytes: 1 << 28,
  };
}

/** What the link of a leg carried. */
function rateOf(leg: LegRecord, legs: readonly LegRecord[]): number | null {
  const { to, givenBytesPerSecond: given, limitBytesPerSecond: limit } = leg;
  const alike = legs.filter((one) => one.to === to && one.givenBytesPerSecond === given);
  const busy = busyRate(alike);
  const rate = given !== null && (busy === null || busy > given / 2) ? given : shownRate(alike);
  return limit === null ? rate : Math.min(limit, rate ?? limit);
}

/** What all frames of a leg took on its link; null if its rate is not known. */
function transferOf(leg: LegRecord, legs: readonly LegRecord[]): number | null {
  const rate = rateOf(leg, legs);
  if (rate === null || rate < 1) return null;
  const carried = leg.pageWireBytes + leg.diskWireBytes;
  const initialBytes = shownStart(legs) ?? plainLink.initialBytes;
  return transferSeconds(carried, linkOf(rate, leg.rttMs ?? 0, initialBytes));
}

/** The first pass of a leg that the host and not the link has limited, in seconds; null for others. */
function hostPass(leg: LegRecord, legs: readonly LegRecord[]): number | null {
  const seconds = leg.measured.firstPassMs / 1000;
  const transfer = transferOf(leg, legs);
  return leg.tracking === "scan" && transfer !== null && seconds > hostLimited * transfer ? seconds : null;
}

/**
 * S_h, from legs of large memories that had little to encode. A pass that something else may have slowed down shows the least that
 * it can be.
 */
function compareSpeed(legs: readonly LegRecord[]): number {
  const telling = legs.filter(
    ({ filledBytes, changedBytes, tracking }) =>
      tracking === "scan" && filledBytes !== null && filledBytes > 0 && changedBytes <= 0.1 * filledBytes,
  );
  const passes = telling.flatMap((leg) => {
    // Where there are disks memory waits for them.
    const seconds = leg.disks > 0 ? null : hostPass(leg, legs);
    if (seconds === null) return [];
    const comparing = seconds - passSeconds - leg.changedBytes / (leg.encodeBytesPerSecond ?? usualEncoding);
    return comparing > 0.02 ? [{ filled: leg.filledBytes ?? 0, comparing }] : [];
  });
  const largest = Math.max(0, ...passes.map(({ filled }) => filled));
  const speeds = passes
    .filter(({ filled }) => filled >= largeMemory * largest)
    .map(({ filled, comparing }) => filled / comparing);
  const least = upper(
    telling.map(({ filledBytes, measured }) =>
      measured.firstPassMs > 20 ? (filledBytes ?? 0) / (measured.firstPassMs / 1000) : null,
    ),
  );
  return Math.max(middle(speeds) ?? defaults.compareBytesPerSecond, least ?? 0);
}

/** What encoding took of a leg that had much to encode; null if the host has not limited it. */
function encodedSeconds(
  leg: LegRecord,
  legs: readonly LegRecord[],
  compareBytesPerSecond: number,
): number | null {
  const { filledBytes, changedBytes } = leg;
  const seconds = hostPass(leg, legs);
  if (seconds === null || filledBytes === null || changedBytes < encodedShare * filledBytes) return null;
  const encoding = seconds - passSeconds - filledBytes / compareBytesPerSecond;
  return encoding > 0.02 ? encoding : null;
}

/** Of a leg's time, what neither the wait before it nor the link nor the host's work nor the handover explains. */
function fixedOf(
  leg: LegRecord,
  legs: readonly LegRecord[],
  compareBytesPerSecond: number,
  encoding: EncodingFactors,
): number | null {
  const { measured, rttMs } = leg;
  const transfer = transferOf(leg, legs);
  if (transfer === null) return null;
  const host =
    leg.tracking === "scan"
      ? (leg.filledBytes ?? 0) / compareBytesPerSecond + encodingSeconds(loadOf(leg), encoding)
      : 0;
  const moving = Math.max(transfer, host, roundSeconds / 2);
  const last = (lastRoundTrips * (rttMs ?? 0)) / 1000;
  return (measured.totalMs - measured.downtimeMs - measured.negotiatedMs) / 1000 - last - moving;
}

function predictionOf({ predictionMs }: LegRecord): number | null {
  return predictionMs === null ? null : predictionMs / 1000;
}

/** What the peer's answer took beside the round trip; null where the leg has waited for its prediction. */
function askingOf({ measured: { negotiatedMs }, predictionMs, rttMs }: LegRecord): number | null {
  if (rttMs === null || (predictionMs !== null && negotiatedMs < predictionMs + tellingMs)) return null;
  return Math.max(0, negotiatedMs - rttMs) / 1000;
}

/** Where few legs have waited for the peer it was the host that was late in them. */
function shownAsking(legs: readonly LegRecord[]): number | null {
  const shown = legs.map(askingOf).filter((seconds) => seconds !== null);
  return 2 * shown.length > legs.length ? middle(shown) : null;
}

/** Whatever a leg has waited for, it had the peer's answer by then. */
function mostAskingOf({ measured: { negotiatedMs }, rttMs }: LegRecord): number {
  return rttMs === null ? Number.POSITIVE_INFINITY : Math.max(0, negotiatedMs - rttMs) / 1000;
}

function activateOf({ measured, rttMs, deviceWireBytes, bytesPerSecond }: LegRecord): number {
  const device = bytesPerSecond ? deviceWireBytes / bytesPerSecond : 0;
  return measured.downtimeMs / 1000 - (handoverRoundTrips * (rttMs ?? 0)) / 1000 - device;
}

function learnMessages(legs: readonly LegRecord[]): MessageCosts {
  const { share } = defaultMessages;
  const bytes = middle(
    legs.map(({ measured, pageWireBytes, diskWireBytes, deviceWireBytes }) => {
      const carried = pageWireBytes + diskWireBytes + deviceWireBytes;
      return Math.max(0, measured.wireBytes - carried * (1 + share));
    }),
  );
  return { bytes: bytes ?? defaultMessages.bytes, share };
}

/** Of this VM's own legs of the same kind, else of others': the machine makes most of it. */
function learnDevice(legs: readonly VmLeg[], { kind, vm }: LegWay): number {
  const alike = legs.filter((leg) => leg.kind === kind);
  const own = alike.filter((leg) => leg.vm === vm);
  return middle((own.length > 0 ? own : alike).map((leg) => leg.deviceWireBytes)) ?? defaultDeviceBytes[kind];
}
