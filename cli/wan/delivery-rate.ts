/**
 * How fast the peer takes what is sent, measured from acknowledgements, and how much may be in flight.
 *
 * The window is little more than a bandwidth-delay product plus something for the granularity of frames: enough to keep
 * the link full, and little enough that the last round does not queue behind stale data and that little is sent twice
 * when the link is lost. Until the rate grows no more it is twice as much, so that the rate is found out soon (the
 * startup of BBR, Cardwell et al. 2016, section "Startup").
 */

/** Frames and acknowledgements in flight at least, whatever was measured. */
const minWindowBytes = 512 * 1024;
/** The same on links below `slowBytesPerSecond`, where more would be seconds of stale data: a frame and a half. */
const minSlowWindowBytes = 192 * 1024;
const slowBytesPerSecond = 2.5e6;
const maxWindowBytes = 256 << 20;
/** Bandwidth-delay products in flight while the rate grows, and then. */
const startupGain = 2;
const steadyGain = 1.25;
/** The rate has stopped growing when it was not this much higher for so many round trips. */
const growth = 1.25;
const plateauRounds = 3;
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
  private plateau = { bytesPerSecond: 0, rounds: 0, at: Number.NEGATIVE_INFINITY };

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
    this.lookForPlateau(now);
  }

  /** Everything in flight is sent anew: what it took before says nothing about the link. */
  restart(now: number): void {
    for (const [number, { bytes }] of this.inFlight) {
      this.inFlight.set(number, {
        bytes,
        sentAt: now,
        deliveredBefore: this.deliveredBytes,
        deliveredAt: now,
      });
    }
    this.lastDelivery = now;
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
    const gain = this.plateau.rounds < plateauRounds ? startupGain : steadyGain;
    return Math.min(maxWindowBytes, Math.max(least, gain * product + granularity));
  }

  /** Once a round trip: does the rate still grow? */
  private lookForPlateau(now: number): void {
    const { bytesPerSecond: before, rounds, at } = this.plateau;
    if (now - at < this.minRttMs) return;
    const rate = this.bytesPerSecond(now) ?? 0;
    this.plateau =
      rate > before * growth
        ? { bytesPerSecond: rate, rounds: 0, at: now }
        : { bytesPerSecond: before, rounds: rounds + 1, at: now };
  }
}
