/**
 * What a link carries. One TCP connection is limited by its window and by loss; several share the link.
 *
 *     R = η · min(C, N · w / τ, N · X)
 *     X = max(1.22 · MSS / (τ · √ℓ),  1.054 · MSS / (τ^¼ · ℓ^¾))        ℓ > 0
 *
 * The first form of X is Reno's (Mathis et al., The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm,
 * CCR 1997), the second one CUBIC's (RFC 9438, section 5.2, with C = 0.4 and β = 0.7); the larger one holds, as CUBIC
 * is never slower than Reno.
 */

import { requireWithin } from "./model-error.ts";

/** A link between two sites. Times in seconds, rates in bytes a second. */
export interface LinkModel {
  /** C: what the slowest part of the way carries. */
  readonly bytesPerSecond: number;
  /** τ: round-trip time. */
  readonly rttSeconds: number;
  /** ℓ: share of packets that are lost, below 1. */
  readonly lossShare: number;
  /** N: TCP connections that carry a leg. */
  readonly streams: number;
  /** w: most bytes that one TCP connection has in flight. */
  readonly windowBytes: number;
  /** η: payload's share of what the link carries. */
  readonly efficiency: number;
  /** I: bytes that go out in the first round trip; each further one carries twice as much until the link is full. */
  readonly initialBytes: number;
}

/** Ethernet's 1500 bytes without the headers of IPv4, TCP and its timestamps. */
const segmentBytes = 1448;

/**
 * The rest of a link where only rate and round trip are known: one connection, no loss, Linux's default largest window and
 * TCP's initial one of ten segments (RFC 6928).
 */
export const plainLink = {
  lossShare: 0,
  streams: 1,
  windowBytes: 4 << 20,
  efficiency: 0.94,
  initialBytes: 10 * segmentBytes,
} as const;

/** R, in bytes a second of payload. Throws ModelError for a link that cannot be. */
export function usableBytesPerSecond(link: LinkModel): number {
  const { bytesPerSecond, rttSeconds, lossShare, streams, windowBytes, efficiency } = link;
  requireWithin("a link rate of bytes a second", bytesPerSecond, { min: 1 });
  requireWithin("a round-trip time in seconds", rttSeconds, { min: 0 });
  requireWithin("a share of lost packets", lossShare, { min: 0, max: 0.99 });
  requireWithin("a number of streams", streams, { min: 1 });
  requireWithin("a TCP window in bytes", windowBytes, { min: 1 });
  requireWithin("a payload share of the link", efficiency, { min: 0.01, max: 1 });
  const perStream = Math.min(windowLimit(link), lossLimit(rttSeconds, lossShare));
  return efficiency * Math.min(bytesPerSecond, streams * perStream);
}

/**
 * Seconds until so many bytes have left over a connection that has been idle: it carries I in the first round trip, 2 · I
 * in the second, and so on until a round trip carries R · τ (slow start, RFC 5681). Throws ModelError.
 */
export function transferSeconds(bytes: number, link: LinkModel): number {
  const rate = usableBytesPerSecond(link);
  const { rttSeconds, initialBytes, streams } = link;
  requireWithin("bytes of a first round trip", initialBytes, { min: 1 });
  let left = bytes;
  let seconds = 0;
  for (let flight = initialBytes * streams; flight < rate * rttSeconds && left > flight; flight *= 2) {
    left -= flight;
    seconds += rttSeconds;
  }
  return seconds + left / rate;
}

/** X: what loss leaves to one TCP connection, in bytes a second; Infinity without loss or without a way to go. */
export function lossLimit(rttSeconds: number, lossShare: number): number {
  if (lossShare === 0 || rttSeconds === 0) return Number.POSITIVE_INFINITY;
  const reno = (1.22 * segmentBytes) / (rttSeconds * Math.sqrt(lossShare));
  const cubic = (1.054 * segmentBytes) / (rttSeconds ** 0.25 * lossShare ** 0.75);
  return Math.max(reno, cubic);
}

function windowLimit({ windowBytes, rttSeconds }: LinkModel): number {
  return rttSeconds === 0 ? Number.POSITIVE_INFINITY : windowBytes / rttSeconds;
}
