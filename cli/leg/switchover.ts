/**
 * When the source lets QEMU stop the VM. QEMU itself is told a downtime limit of 1 ms, which keeps it going; when what
 * is left fits the limit over the WAN, the limit is raised and QEMU stops at once.
 *
 * What waits for the WAN is often more than what QEMU has left. Where only that queue is in the way, it is drained first:
 * QEMU sends next to nothing meanwhile, and its dirty bitmap takes what the guest writes again and again as one page.
 */

/** What is known when the decision is made. Bytes and bytes a second on the WAN unless named otherwise. */
export interface SwitchoverInputs {
  /** Encoded bytes that the peer has not acknowledged. */
  readonly backlogBytes: number;
  /** Delivery rate; null before there is a measurement. */
  readonly bytesPerSecond: number | null;
  /** False while the rate is only known to be no less. */
  readonly isLinkLimited: boolean;
  /** Shortest round trip; Infinity before there is a measurement. */
  readonly rttMs: number;
  /** Bytes of guest memory that QEMU would send if it stopped the VM as soon as it can. */
  readonly unsentBytes: number;
  /** The same if it did so when the queue is drained. */
  readonly unsentDrainedBytes: number;
  /** Encoded bytes for each such byte, as recent rounds were. */
  readonly encodedShare: number;
  /** Disks that move, if any: whether the first round is over, and what the rest makes on the WAN. */
  readonly disks: { readonly isBulkDone: boolean; readonly encodedBytes: number } | null;
  /** Passes over the memory that QEMU has begun; the first is 1. */
  readonly pass: number;
  /** How long the data may take: see `dataBudgetMs`. */
  readonly budgetMs: number;
  /** While the link is lost nothing can be handed over. */
  readonly isLinkUp: boolean;
}

/** Whether to stop now, and the downtime to expect from it. */
export interface SwitchoverDecision {
  readonly stopNow: boolean;
  /** Not now, but as soon as the queue is drained: it is worth it. */
  readonly drainFirst: boolean;
  readonly expectedDowntimeMs: number;
}

/** Device state over the WAN, compressed, in bytes: about what a small machine has. */
const deviceStateBytes = 32 * 1024;
/** Messages of the handover that cross the WAN while the VM is stopped, in round trips. */
const handoverRoundTrips = 1.5;
/** What the handover takes beside: devices are saved and loaded, records and frames are made durable. */
const handoverFixedMs = 60;
/** The data of the switchover may always take this part of the limit, however far the peer is. */
const leastDataShare = 0.25;
/** Memory that is read, compared and encoded in a second while a checkpoint has stopped the VM: what a slow host does. */
const pauseBytesPerSecond = 64 << 20;
/** What a checkpoint reads in its pause is kept in memory: never more than this. */
const maxPauseBytes = 64 << 20;
/** A rate to assume before the first measurement: 1 MB/s makes the first decisions cautious. */
const assumedBytesPerSecond = 1e6;

/** The part of a downtime that no choice of the moment shortens. */
export function handoverMs(rttMs: number): number {
  return handoverFixedMs + (Number.isFinite(rttMs) ? handoverRoundTrips * rttMs : 0);
}

/**
 * What the data of the switchover may take at first, so that the whole downtime keeps the limit. A guest that does not come
 * down to it may use the whole limit for the data, and the handover comes on top.
 */
export function dataBudgetMs(downtimeLimitMs: number, rttMs: number): number {
  return Math.max(downtimeLimitMs * leastDataShare, downtimeLimitMs - handoverMs(rttMs));
}

/** How long the last data is on its way if nothing waits before it: so much encoded memory, and the device state. */
export function lastDataMs(encodedBytes: number, bytesPerSecond: number): number {
  return ((encodedBytes + deviceStateBytes) / Math.max(1, bytesPerSecond)) * 1000;
}

/** Expected downtime: what is left and the device state over the link, and the handover. */
export function decideSwitchover(inputs: SwitchoverInputs): SwitchoverDecision {
  const { disks, rttMs, encodedShare, budgetMs } = inputs;
  const rate = Math.max(1, inputs.bytesPerSecond ?? assumedBytesPerSecond);
  // So much is under way on the path at any moment, and does not wait: the round trips count it.
  const onPathBytes = Number.isFinite(rttMs) && inputs.bytesPerSecond !== null ? (rate * rttMs) / 1000 : 0;
  const diskBytes = disks?.encodedBytes ?? 0;
  const queuedMs = (unsentBytes: number, backlogBytes: number) => {
    const lastBytes = encoded(unsentBytes, encodedShare) + diskBytes;
    // A flight that never filled the link has shown that so much takes no longer than the round trip.
    if (!inputs.isLinkLimited) return Math.max(0, lastDataMs(backlogBytes + lastBytes - onPathBytes, rate));
    return lastDataMs(Math.max(0, backlogBytes - onPathBytes) + lastBytes, rate);
  };
  const isReady = inputs.isLinkUp && inputs.pass > 1 && disks?.isBulkDone !== false;
  const transferMs = queuedMs(inputs.unsentBytes, inputs.backlogBytes);
  const stopNow = isReady && transferMs <= budgetMs;
  return {
    stopNow,
    drainFirst: isReady && !stopNow && queuedMs(inputs.unsentDrainedBytes, 0) <= budgetMs,
    expectedDowntimeMs: transferMs + handoverMs(rttMs),
  };
}

/**
 * The same for a checkpoint: what is read while the VM stands still waits in memory and crosses the WAN afterwards. So the
 * link does not count, only how much is to be read.
 */
export function decidePause({
  pass,
  disks,
  unsentBytes,
  budgetMs,
}: Pick<SwitchoverInputs, "pass" | "disks" | "unsentBytes" | "budgetMs">): SwitchoverDecision {
  const readMs = (unsentBytes / pauseBytesPerSecond) * 1000;
  const isReady = pass > 1 && disks?.isBulkDone !== false;
  const stopNow = isReady && readMs <= budgetMs && unsentBytes <= maxPauseBytes;
  return { stopNow, drainFirst: false, expectedDowntimeMs: readMs + handoverFixedMs };
}

/** Nothing encodes to nothing, also where the share is not known. */
function encoded(bytes: number, share: number): number {
  return bytes === 0 ? 0 : bytes * share;
}
