/** One of the connections that a leg's frames are spread over: what is on its way there, and how fast it arrives. */

/** What a lane takes before anything has arrived on it. */
const firstBytes = 512 * 1024;
/** A lane takes what it carries in so many round trips, and a large frame and a half: its rate may grow. */
const gain = 2;
const granularityBytes = 384 * 1024;
/** Weight of a new sample of its rate. */
const sampleWeight = 0.5;

interface UnderWay {
  readonly sequence: number;
  readonly bytes: number;
  readonly sentAt: number;
  /** Bytes that had arrived on the lane when it was sent, and when that was last so. */
  readonly arrivedBefore: number;
  readonly arrivedAt: number;
}

/** A connection that takes part. Times are milliseconds of one monotonic clock. */
export interface Lane {
  /** What was sent on it and has not arrived, in order. */
  readonly underWay: readonly UnderWay[];
  /** What it carries now, in bytes a second; null before anything has arrived. */
  readonly bytesPerSecond: number | null;
  /** Shortest time from sending a frame until it was known to be there; Infinity before the first. */
  readonly minRttMs: number;
  readonly sentFrames: number;
  readonly arrivedFrames: number;
  /** Sends a frame. */
  give(sequence: number, frame: Uint8Array, now: number): void;
  /** The next frame that is under way has arrived. Returns its number. */
  arrived(now: number): number;
  /** True if it may take a frame now. `rttMs`: the round trip of the link. */
  hasRoom(bytes: number, rttMs: number): boolean;
  /** In how many seconds a frame of so many bytes would have left it. */
  timeFor(bytes: number): number;
}

/** What a lane carries in a round trip, in bytes. */
export function laneCarries({ bytesPerSecond }: Lane, rttMs: number): number {
  return bytesPerSecond === null ? firstBytes : (bytesPerSecond * rttMs) / 1000;
}

/** Makes a lane of a connection's `send`. */
export function openLane(send: (frame: Uint8Array) => void): Lane {
  return new OpenLane(send);
}

class OpenLane implements Lane {
  readonly underWay: UnderWay[] = [];
  bytesPerSecond: number | null = null;
  minRttMs = Number.POSITIVE_INFINITY;
  sentFrames = 0;
  arrivedFrames = 0;
  private readonly send: (frame: Uint8Array) => void;
  private underWayBytes = 0;
  private arrivedBytes = 0;
  private arrivedAt = 0;

  constructor(send: (frame: Uint8Array) => void) {
    this.send = send;
  }

  give(sequence: number, frame: Uint8Array, now: number): void {
    const bytes = frame.length;
    if (this.underWay.length === 0) this.arrivedAt = now;
    const { arrivedBytes: arrivedBefore, arrivedAt } = this;
    this.underWay.push({ sequence, bytes, sentAt: now, arrivedBefore, arrivedAt });
    this.underWayBytes += bytes;
    this.sentFrames++;
    this.send(frame);
  }

  arrived(now: number): number {
    const one = this.underWay.shift();
    if (one === undefined) throw new Error("nothing is under way");
    this.arrivedFrames++;
    this.underWayBytes -= one.bytes;
    this.arrivedBytes += one.bytes;
    this.arrivedAt = now;
    this.minRttMs = Math.min(this.minRttMs, Math.max(now - one.sentAt, 0.05));
    const elapsed = now - one.arrivedAt;
    if (elapsed > 0) {
      const sample = ((this.arrivedBytes - one.arrivedBefore) / elapsed) * 1000;
      const before = this.bytesPerSecond ?? sample;
      this.bytesPerSecond = before + sampleWeight * (sample - before);
    }
    return one.sequence;
  }

  hasRoom(bytes: number, rttMs: number): boolean {
    if (this.underWay.length === 0) return true;
    const most =
      this.bytesPerSecond === null ? firstBytes : gain * laneCarries(this, rttMs) + granularityBytes;
    return this.underWayBytes + bytes <= most;
  }

  timeFor(bytes: number): number {
    // Nothing is known of a new lane: it is as good as one that carries this in a second.
    return (this.underWayBytes + bytes) / (this.bytesPerSecond ?? firstBytes);
  }
}
