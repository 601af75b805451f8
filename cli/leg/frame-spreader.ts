/**
 * Spreads a leg's frames over several connections, at the source. A frame waits here until a lane has room: which lane
 * takes it is decided as late as can be, so that a slow one holds little that the others must wait for.
 *
 *     frames ─► waiting ─┬─► lane ─┐
 *                        ├─► lane ─┼─► peer     each lane: little more than it carries in two round trips
 *                        └─► lane ─┘            all together: less than the peer may hold until it is in order
 *
 * What a lane carries is known from what the peer says has arrived on it, not from the socket: a kernel takes megabytes
 * from a sender whatever the link does. A frame that is late is sent once more over a lane that has nothing else to do
 * (opportunistic retransmission of Multipath TCP, Raiciu et al., NSDI 2012).
 */

import { performance } from "node:perf_hooks";
import { firstFrame, maxSpreadBytes, maxSpreadFrames } from "./frame-order.ts";
import { type Lane, laneCarries, openLane } from "./lane.ts";

/** What is not stored there is less than so many times what all lanes carry in a round trip, and this. */
const spreadGain = 4;
const leastSpreadBytes = 8 << 20;
/** A frame that has not arrived after so many round trips is late. */
const lateRoundTrips = 2;

/** A frame that was given to a lane and is not acknowledged. */
interface Given {
  readonly frame: Uint8Array;
  readonly sentAt: number;
  hasArrived: boolean;
}

/** Frames of one leg. */
export class FrameSpreader {
  /** Bytes of frames that were sent once more because they were late. */
  repeatedBytes = 0;
  private readonly mayRepeat: boolean;
  private readonly now: () => number;
  private readonly lanes = new Set<Lane>();
  private waiting: { readonly frame: Uint8Array; readonly sequence: number }[] = [];
  private readonly given = new Map<number, Given>();
  /** Those of them that have not arrived and were sent once only, the oldest first. */
  private readonly expected = new Map<number, Given>();
  private givenBytes = 0;
  private lastGiven = 0;
  private acknowledgedSequence = firstFrame - 1;
  /** Frames that have arrived and are not acknowledged. */
  private heldFrames = 0;

  /** `mayRepeat`: late frames are sent once more. `now` gives milliseconds. */
  constructor(mayRepeat: boolean, now: () => number = () => performance.now()) {
    this.mayRepeat = mayRepeat;
    this.now = now;
  }

  /** As many frames have arrived as if it were all up to this number, and no other. */
  get deliveredSequence(): number {
    return this.acknowledgedSequence + this.heldFrames;
  }

  /** Takes the next frame. Its bytes must not change afterwards. */
  add(frame: Uint8Array, sequence: number): void {
    this.waiting.push({ frame, sequence });
    this.spread();
  }

  /** A connection takes part from now on. */
  open(send: (frame: Uint8Array) => void): Lane {
    const lane = openLane(send);
    this.lanes.add(lane);
    this.spread();
    return lane;
  }

  /** A connection is lost: what has not arrived on it goes over the others. Returns how many bytes that is. */
  close(lane: Lane): number {
    if (!this.lanes.delete(lane)) return 0;
    let bytes = 0;
    for (const { sequence } of lane.underWay) {
      const given = this.given.get(sequence);
      if (!given || given.hasArrived) continue;
      this.take(sequence);
      this.waiting.push({ frame: given.frame, sequence });
      bytes += given.frame.length;
    }
    this.waiting.sort((one, other) => one.sequence - other.sequence);
    this.spread();
    return bytes;
  }

  /** So many frames have arrived on a lane so far. False if it never had so many. */
  arrived(lane: Lane, frames: number): boolean {
    if (frames > lane.sentFrames) return false;
    while (lane.arrivedFrames < frames) {
      const sequence = lane.arrived(this.now());
      this.expected.delete(sequence);
      const given = this.given.get(sequence);
      if (!given || given.hasArrived) continue;
      given.hasArrived = true;
      this.heldFrames++;
    }
    this.spread();
    return true;
  }

  /** All frames up to this one are in the peer's store. */
  acknowledged(sequence: number): void {
    if (sequence <= this.acknowledgedSequence) return;
    const last = Math.min(sequence, this.lastGiven);
    for (let number = this.acknowledgedSequence + 1; number <= last; number++) this.take(number);
    this.acknowledgedSequence = sequence;
    // A frame that was to be sent again after its connection was lost may have arrived before that.
    const next = this.waiting.findIndex((one) => one.sequence > sequence);
    this.waiting.splice(0, next < 0 ? this.waiting.length : next);
    this.spread();
  }

  /** Looks for late frames; to be called now and then. */
  lookAgain(): void {
    this.spread();
  }

  /** Forgets all lanes and frames: what is not acknowledged will be added again. */
  clear(): void {
    this.lanes.clear();
    this.waiting = [];
    this.given.clear();
    this.expected.clear();
    this.givenBytes = 0;
    this.lastGiven = 0;
    this.heldFrames = 0;
  }

  private take(sequence: number): void {
    const given = this.given.get(sequence);
    if (!given) return;
    this.given.delete(sequence);
    this.expected.delete(sequence);
    this.givenBytes -= given.frame.length;
    if (given.hasArrived) this.heldFrames--;
  }

  private spread(): void {
    const now = this.now();
    const rttMs = this.shortestRttMs();
    let count = 0;
    for (const { frame, sequence } of this.waiting) {
      const lane = this.mayGo(frame, sequence, rttMs) ? this.soonest(frame.length, rttMs) : null;
      if (lane === null) break;
      const given = { frame, sentAt: now, hasArrived: false };
      this.given.set(sequence, given);
      this.expected.set(sequence, given);
      this.givenBytes += frame.length;
      this.lastGiven = Math.max(this.lastGiven, sequence);
      lane.give(sequence, frame, now);
      count++;
    }
    if (count > 0) this.waiting.splice(0, count);
    if (this.mayRepeat) this.repeatLate(now, rttMs);
  }

  /** The peer holds no more than it can, no more is on its way to its store than is of use, and one frame always is. */
  private mayGo(frame: Uint8Array, sequence: number, rttMs: number): boolean {
    // What is sent again had its place there before; and others may wait for it.
    if (this.givenBytes === 0 || sequence <= this.lastGiven) return true;
    if (sequence >= this.acknowledgedSequence + maxSpreadFrames) return false;
    let most = leastSpreadBytes;
    for (const lane of this.lanes) most += spreadGain * laneCarries(lane, rttMs);
    return this.givenBytes + frame.length <= Math.min(most, maxSpreadBytes);
  }

  /** The lane on which a frame is there first; null if all have enough. */
  private soonest(bytes: number, rttMs: number): Lane | null {
    let best: Lane | null = null;
    for (const lane of this.lanes) {
      if (lane.hasRoom(bytes, rttMs) && (best === null || lane.timeFor(bytes) < best.timeFor(bytes)))
        best = lane;
    }
    return best;
  }

  /** Lanes with nothing to do take the oldest frames that should have arrived: others wait for these. */
  private repeatLate(now: number, rttMs: number): void {
    for (const lane of this.lanes) {
      if (lane.underWay.length > 0) continue;
      const [oldest] = this.expected;
      if (!oldest) return;
      const [sequence, { frame, sentAt }] = oldest;
      if (now - sentAt < lateRoundTrips * rttMs) return;
      this.expected.delete(sequence);
      this.repeatedBytes += frame.length;
      lane.give(sequence, frame, now);
    }
  }

  private shortestRttMs(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { minRttMs } of this.lanes) least = Math.min(least, minRttMs);
    return least;
  }
}
