/**
 * When the source lets QEMU stop the VM. QEMU itself is told a downtime limit of 1 ms, which keeps it going;
 * when what is left fits the limit over the WAN, the limit is raised and QEMU stops at once.
 */

/** What is known when the decision is made. Bytes and bytes a second on the WAN unless named otherwise. */
export interface SwitchoverInputs {
  /** Encoded bytes that the peer has not acknowledged. */
  readonly backlogBytes: number;
  /** Delivery rate; null before there is a measurement. */
  readonly bytesPerSecond: number | null;
  readonly rttMs: number;
  /** Bytes of guest memory that QEMU has still to send. */
  readonly remainingBytes: number;
  /** Encoded bytes for each such byte, as recent rounds were. */
  readonly encodedShare: number;
  /** Disks that move, if any: whether the first round is over, and what the rest makes on the WAN. */
  readonly disks: { readonly isBulkDone: boolean; readonly encodedBytes: number } | null;
  /** Passes over the memory that QEMU has begun; the first is 1. */
  readonly pass: number;
  readonly downtimeLimitMs: number;
  /** While the link is lost nothing can be handed over. */
  readonly isLinkUp: boolean;
}

/** Whether to stop now, and the downtime to expect from it. */
export interface SwitchoverDecision {
  readonly stopNow: boolean;
  readonly expectedDowntimeMs: number;
}

/** Device state over the WAN, compressed, in bytes: about what a small machine has. */
const deviceStateBytes = 32 * 1024;
/** Messages of the handover that cross the WAN while the VM is stopped, in round trips. */
const handoverRoundTrips = 1.5;
/** A rate to assume before the first measurement: 1 MB/s makes the first decisions cautious. */
const assumedBytesPerSecond = 1e6;

/** Expected downtime: what is left and the device state over the link, and the handover's round trips. */
export function decideSwitchover(inputs: SwitchoverInputs): SwitchoverDecision {
  const rate = Math.max(1, inputs.bytesPerSecond ?? assumedBytesPerSecond);
  const { disks } = inputs;
  const ramBytes = inputs.remainingBytes * inputs.encodedShare;
  const left = inputs.backlogBytes + ramBytes + (disks?.encodedBytes ?? 0) + deviceStateBytes;
  const isReady = inputs.isLinkUp && inputs.pass > 1 && disks?.isBulkDone !== false;
  const roundTripsMs = Number.isFinite(inputs.rttMs) ? handoverRoundTrips * inputs.rttMs : 0;
  const transferMs = (left / rate) * 1000;
  // The limit is for what the tool can choose: the round trips are paid whenever it stops.
  return {
    stopNow: isReady && transferMs <= inputs.downtimeLimitMs,
    expectedDowntimeMs: transferMs + roundTripsMs,
  };
}
