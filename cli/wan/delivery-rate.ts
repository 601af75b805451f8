/**
 * How fast the peer takes what is sent, measured from acknowledgements, and how much may be in flight.
 *
 * The window is about two bandwidth-delay products plus a little for the granularity of frames: enough
 * to keep the link full, and little enough that the last round does not queue behind stale data.
 */

/** Frames and acknowledgements in flight at least, whatever was measured. */
const minWindowBytes = 512 * 1024;
/** The same on links below `slowBytesPerSecond`, where more would be seconds of stale data: a frame and a half. */
const minSlowWindowBytes = 192 * 1024;
const slowBytesPerSecond = 2.5e6;
const maxWindowBytes = 256 << 20;
/** Samples older than this do not speak for the link any more. */
const memoryMs = 3000;

interface Sample {
  readonly at: number;
  readonly bytesPerSecond: number;
}

interface InFlight {
  readonly bytes: number;
  readonly sentAt: number;
  /** Bytes acknowledged when it was sent. */
  readonly deliveredBefore: number;
  readonly deliveredAt: number;
}

/** Counts what is in flight. Times are milliseconds of one monotonic clock. */
export class DeliveryRate {
  /** Bytes sent and not acknowledged. */
  unacknowledgedBytes = 0;
  /** Bytes acknowledged so far. */
  deliveredBytes = 0;
  /** Shortest time between a frame and its acknowledgement; Infinity before the first one. */
  minRttMs = Number.POSITIVE_INFINITY;
  private readonly inFlight = new Map<number, InFlight>();
  private samples: Sample[] = [];
  private lastDelivery: number | null = null;

  /** A frame was handed to the connection. */
  sent(sequence: number, bytes: number, now: number): void {
    if (this.lastDelivery === null || this.inFlight.size === 0) this.lastDelivery = now;
    this.inFlight.set(sequence, {
      bytes,
      sentAt: now,
      deliveredBefore: this.deliveredBytes,
      deliveredAt: this.lastDelivery,
    });
    this.unacknowledgedBytes += bytes;
  }

  /** All frames up to `sequence` are in the peer's store. */
  acknowledged(sequence: number, now: number): void {
    for (const [number, frame] of this.inFlight) {
      if (number > sequence) break;
      this.inFlight.delete(number);
      this.unacknowledgedBytes -= frame.bytes;
      this.deliveredBytes += frame.bytes;
      this.lastDelivery = now;
      this.minRttMs = Math.min(this.minRttMs, Math.max(now - frame.sentAt, 0.05));
      const elapsed = now - frame.deliveredAt;
      if (elapsed > 0) {
        const bytesPerSecond = ((this.deliveredBytes - frame.deliveredBefore) / elapsed) * 1000;
        this.samples.push({ at: now, bytesPerSecond });
      }
    }
    if (this.samples.length > 512) this.samples = this.samples.slice(-256);
  }

  /** Measured rate in bytes a second: the best of the last seconds; null before there is a measurement. */
  bytesPerSecond(now: number): number | null {
    let best = 0;
    let newest: Sample | null = null;
    for (const sample of this.samples) {
      if (newest === null || sample.at >= newest.at) newest = sample;
      if (now - sample.at <= memoryMs) best = Math.max(best, sample.bytesPerSecond);
    }
    return best > 0 ? best : (newest?.bytesPerSecond ?? null);
  }

  /** How many bytes may be unacknowledged now. */
  windowBytes(now: number): number {
    const rate = this.bytesPerSecond(now);
    if (rate === null) return minWindowBytes;
    const product = (rate * this.minRttMs) / 1000;
    const least = rate < slowBytesPerSecond ? minSlowWindowBytes : minWindowBytes;
    const granularity = least / 2;
    return Math.min(maxWindowBytes, Math.max(least, 2 * product + granularity));
  }
}
