/** What a link carries, as legs over it have shown. None shows more than there is, and those with little to send less. */

import { upper } from "../middle.ts";
import type { LegRecord } from "../store/leg-history.ts";

/** A leg with so much to send, at the highest rate that any has shown, says what the link carries. */
const tellingSeconds = 1;
/** Beyond this share of what somebody has said the link carries, he or the leg was wrong. */
const possibleShare = 1.2;
/** Share of the longest round trip from which on a way counts as a long one. */
const longWay = 0.5;

/** In bytes a second: what three of four legs that kept the link busy did not exceed, else the most that a leg has shown; null of nothing. */
export function shownRate(legs: readonly LegRecord[]): number | null {
  return busyRate(legs) ?? mostShown(legs);
}

/** What three of four legs that kept the link busy did not exceed, in bytes a second; null without any. */
export function busyRate(legs: readonly LegRecord[]): number | null {
  const leastBytes = tellingSeconds * (mostShown(legs) ?? Number.POSITIVE_INFINITY);
  const busy = legs.filter(({ pageWireBytes, diskWireBytes }) => pageWireBytes + diskWireBytes >= leastBytes);
  return upper(busy.map((leg) => leg.bytesPerSecond));
}

/**
 * η: what legs that kept the link busy had of what somebody said that it carries; null if none tells. Of several links the
 * best one, as legs over others may have waited for the hosts.
 */
export function shownEfficiency(legs: readonly LegRecord[]): number | null {
  const free = legs.filter((leg) => leg.limitBytesPerSecond === null);
  const shares = [...new Set(free.map((leg) => leg.givenBytesPerSecond))].flatMap((given) => {
    const rate = busyRate(free.filter((leg) => leg.givenBytesPerSecond === given));
    return given === null || rate === null || rate > possibleShare * given ? [] : [rate / given];
  });
  return shares.length === 0 ? null : Math.min(1, Math.max(...shares));
}

/**
 * I: what three of four starts do not exceed, in bytes; null if none tells. A host that is late looks like a slow start, the more
 * the shorter the way is: only legs over the longer ways count.
 */
export function shownStart(legs: readonly LegRecord[]): number | null {
  const telling = legs.filter((leg) => leg.initialBytes !== null && leg.rttMs !== null);
  const longest = Math.max(0, ...telling.map((leg) => leg.rttMs ?? 0));
  return upper(telling.filter((leg) => (leg.rttMs ?? 0) >= longWay * longest).map((leg) => leg.initialBytes));
}

function mostShown(legs: readonly LegRecord[]): number | null {
  const most = Math.max(0, ...legs.map((leg) => leg.bytesPerSecond ?? 0));
  return most > 0 ? most : null;
}
