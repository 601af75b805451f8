/**
 * How fast the peer takes what is sent, measured from acknowledgements, and how much may be in flight.
 *
 * The window is little more than a bandwidth-delay product plus something for the granularity of frames: enough to keep
 * the link full, and little enough that the last round does not queue behind stale data and that little is sent twice
 * when the link is lost. Until the rate grows no more it is twice as much, so that the rate is found out soon.
 *
 * The rules are those of BBR (Cardwell et al. 2016; draft-cardwell-iccrg-bbr-congestion-control, sections 4.1 to 4.3):
 * a sample is divided by the longer of the time it took to send and to acknowledge; one that was taken while the sender
 * had too little to fill the link may raise an estimate and never lowers one; the shortest round trip is measured anew
 * from time to time with a short flight, since a path may have become longer and our own queue must not count as path.
 */

import { MeanRate } from "./mean-rate.ts";

/** Frames and acknowledgements in flight at least, whatever was measured. */
const minWindowBytes = 512 * 1024;
/** The same on links below `slowBytesPerSecond`, where more would be seconds of stale data: a frame and a half. */
const minSlowWindowBytes = 192 * 1024;
const slowBytesPerSecond = 2.5e6;
const maxWindowBytes = 256 << 20;
/** Bandwidth-delay products in flight while the rate grows, then, and while the round trip is measured anew. */
const startupGain = 2;
const steadyGain = 1.25;
const probeGain = 0.5;
/** The rate has stopped growing when it was not this much higher for so many round trips. */
const growth = 1.25;
const plateauRounds = 3;
/** Samples older than this, and than so many round trips, do not speak for the link any more. */
const memoryMs = 3000;
const memoryRounds = 10;
/** A shortest round trip that was not seen again for so long may belong to another path. */
const rttMemoryMs = 10_000;
/** Seen again: within this much of it. */
const sameRtt = 1.05;
/** A flight below this part of a bandwidth-delay product does not fill the link. */
const fullFlight = 0.75;

/** So much is several times what TCP sends at once at first. */
const tellingBytes = 96 * 1024;
/** They tell if the sender had them within this share of a round trip. */
const tellingShare = 0.5;

interface Sample {
  readonly at: number;
  readonly bytesPerSecond: number;
}

interface InFlight {
  readonly bytes: number;
  readonly sentAt: number;
  /** Bytes acknowledged when it was sent, and when the last of them was. */
  readonly deliveredBefore: number;
  readonly deliveredAt: number;
  /** When the frame was sent that had been acknowledged last. */
  readonly firstSentAt: number;
  /** There was too little in flight before it to fill the link. */
  readonly isAppLimited: boolean;
  /** Sent into the short flight that measures the round trip. */
  readonly isProbe: boolean;
}

/** Counts what is in flight. Times are milliseconds of one monotonic clock. */
export class DeliveryRate {
  /** Bytes sent and not acknowledged. */
  unacknowledgedBytes = 0;
  /** Bytes acknowledged so far. */
  deliveredBytes = 0;
  /** Shortest time between a frame and its acknowledgement; Infinity before the first one. */
  minRttMs = Number.POSITIVE_INFINITY;
  /**
   * The first bytes that were acknowledged, enough of them to tell how a connection starts, and the time since the last of
   * them was handed over. Null if that was long after the first: then it says what the sender had, not what TCP let go.
   */
  start: { readonly bytes: number; readonly ms: number } | null = null;
  private beganAt: number | null = null;
  private readonly inFlight = new Map<number, InFlight>();
  private readonly mean = new MeanRate();
  private samples: Sample[] = [];
  private lastDelivery: number | null = null;
  private firstSentAt = 0;
  private rttSeenAt = 0;
  private isProbing = false;
  /** Newest sample that the link had limited: older ones are measured by its age. */
  private limitedAt = Number.NEGATIVE_INFINITY;
  private plateau = { bytesPerSecond: 0, rounds: 0, at: Number.NEGATIVE_INFINITY };

  /** A frame was handed to the connection. */
  sent(sequence: number, bytes: number, now: number): void {
    if (this.lastDelivery === null || this.inFlight.size === 0) {
      this.lastDelivery = now;
      this.firstSentAt = now;
    }
    this.beganAt ??= now;
    const product = this.product();
    this.inFlight.set(sequence, {
      bytes,
      sentAt: now,
      deliveredBefore: this.deliveredBytes,
      deliveredAt: this.lastDelivery,
      firstSentAt: this.firstSentAt,
      isAppLimited: this.unacknowledgedBytes + bytes < this.fillingBytes(),
      isProbe: this.isProbing && product !== null && this.unacknowledgedBytes <= probeGain * product,
    });
    this.unacknowledgedBytes += bytes;
  }

  /** All frames up to `sequence` are in the peer's store. */
  acknowledged(sequence: number, now: number): void {
    let newest: InFlight | null = null;
    let oldest: InFlight | null = null;
    let bytes = 0;
    for (const [number, frame] of this.inFlight) {
      if (number > sequence) break;
      this.inFlight.delete(number);
      bytes += frame.bytes;
      oldest ??= frame;
      newest = frame;
      this.measureRtt(frame, now);
    }
    if (newest === null || oldest === null) return;
    this.unacknowledgedBytes -= bytes;
    this.deliveredBytes += bytes;
    const hadTold = this.deliveredBytes - bytes >= tellingBytes;
    if (!hadTold && this.deliveredBytes >= tellingBytes) this.start = this.startUntil(newest, now);
    const since = this.lastDelivery ?? now;
    // The first frame of a flight also waits for the path: only from one acknowledgement to the next the link shows.
    if (!newest.isAppLimited && oldest.sentAt < since) this.mean.add(bytes, now - since);
    this.lastDelivery = now;
    this.firstSentAt = newest.sentAt;
    this.sample(newest, now);
    if (!newest.isAppLimited) this.lookForPlateau(now);
  }

  /** Everything in flight is sent anew: what it took before says nothing about the link. */
  restart(now: number): void {
    for (const [number, frame] of this.inFlight) {
      this.inFlight.set(number, {
        ...frame,
        sentAt: now,
        deliveredBefore: this.deliveredBytes,
        deliveredAt: now,
        firstSentAt: now,
      });
    }
    this.lastDelivery = now;
    this.firstSentAt = now;
    // The new connection may take another way.
    this.rttSeenAt = Number.NEGATIVE_INFINITY;
  }

  /** Bytes a second that the link carries, as a mean of its last busy second or so; null before there is a measurement. */
  get bytesPerSecond(): number | null {
    return this.mean.bytesPerSecond ?? this.best();
  }

  /** True once there was enough in flight to fill the link: before, the rate is only known to be no less. */
  get isLinkLimited(): boolean {
    return this.limitedAt !== Number.NEGATIVE_INFINITY;
  }

  /** How many bytes may be unacknowledged now. */
  windowBytes(now: number): number {
    const product = this.product();
    if (product === null) return minWindowBytes;
    if (this.mustMeasureRtt(now)) return probeGain * product;
    const isStarting = this.plateau.rounds < plateauRounds;
    const isSlow = !isStarting && (this.best() as number) < slowBytesPerSecond;
    const least = isSlow ? minSlowWindowBytes : minWindowBytes;
    const granularity = least / 2;
    const gain = isStarting ? startupGain : steadyGain;
    return Math.min(maxWindowBytes, Math.max(least, gain * product + granularity));
  }

  /** A flight of so much fills the link. While nothing but small flights were seen, a large one is taken for it. */
  private fillingBytes(): number {
    return this.isLinkLimited ? fullFlight * (this.product() ?? 0) : minWindowBytes / 2;
  }

  /** Bandwidth-delay product in bytes; null before there is a measurement. */
  private product(): number | null {
    const rate = this.best();
    return rate === null ? null : (rate * this.minRttMs) / 1000;
  }

  /** The best sample among those that still count: the window must not shrink because the peer paused. */
  private best(): number | null {
    const oldest = this.limitedAt - Math.max(memoryMs, memoryRounds * this.minRttMs);
    let best = 0;
    for (const sample of this.samples) {
      if (sample.at >= oldest) best = Math.max(best, sample.bytesPerSecond);
    }
    return best > 0 ? best : null;
  }

  private startUntil(newest: InFlight, now: number): { bytes: number; ms: number } | null {
    const beganAt = this.beganAt ?? now;
    const isAtOnce = newest.sentAt - beganAt <= tellingShare * this.minRttMs;
    return isAtOnce ? { bytes: this.deliveredBytes, ms: now - newest.sentAt } : null;
  }

  private sample(frame: InFlight, now: number): void {
    const elapsed = Math.max(now - frame.deliveredAt, frame.sentAt - frame.firstSentAt);
    if (elapsed <= 0) return;
    const bytesPerSecond = ((this.deliveredBytes - frame.deliveredBefore) / elapsed) * 1000;
    if (frame.isAppLimited && bytesPerSecond <= (this.best() ?? 0)) return;
    if (!frame.isAppLimited) this.limitedAt = now;
    this.samples.push({ at: now, bytesPerSecond });
    if (this.samples.length > 512) this.samples = this.samples.slice(-256);
  }

  private measureRtt(frame: InFlight, now: number): void {
    const rttMs = Math.max(now - frame.sentAt, 0.05);
    if (frame.isProbe && this.isProbing) {
      this.isProbing = false;
      this.minRttMs = rttMs;
      this.rttSeenAt = now;
    }
    if (rttMs <= this.minRttMs * sameRtt) this.rttSeenAt = now;
    this.minRttMs = Math.min(this.minRttMs, rttMs);
  }

  /** True while the flight must be short, until a frame of a short flight came back. */
  private mustMeasureRtt(now: number): boolean {
    this.isProbing ||= this.plateau.rounds >= plateauRounds && now - this.rttSeenAt > rttMemoryMs;
    return this.isProbing;
  }

  /** Once a round trip: does the rate still grow? */
  private lookForPlateau(now: number): void {
    const { bytesPerSecond: before, rounds, at } = this.plateau;
    if (now - at < this.minRttMs) return;
    const rate = this.best() ?? 0;
    this.plateau =
      rate > before * growth
        ? { bytesPerSecond: rate, rounds: 0, at: now }
        : { bytesPerSecond: before, rounds: rounds + 1, at: now };
  }
}
