/** A link without a clock of its own: a queue, a rate, a delay, and a sender that keeps a window full. */

import type { DeliveryRate } from "../../cli/wan/delivery-rate.ts";

interface Arrival {
  readonly sequence: number;
  readonly at: number;
}

/** What the sender does. */
export interface SenderOptions {
  /** Bytes of each frame. */
  readonly frame: number;
  /** Frames in all; by default as many as the window has room for. */
  readonly atMost?: number;
  /** Called after each millisecond. */
  readonly each?: () => void;
}

/** Steps by milliseconds. */
export class SimulatedLink {
  now = 1000;
  bytesPerSecond: number;
  rttMs: number;
  private readonly rate: DeliveryRate;
  private readonly bunchMs: number;
  private sequence = 0;
  /** When all that was sent so far has left. */
  private freeAt = 0;
  private underWay: Arrival[] = [];

  /** `bunchMs`: acknowledgements wait for the next multiple of this. */
  constructor(rate: DeliveryRate, options: { bytesPerSecond: number; rttMs: number; bunchMs?: number }) {
    this.rate = rate;
    this.bytesPerSecond = options.bytesPerSecond;
    this.rttMs = options.rttMs;
    this.bunchMs = options.bunchMs ?? 0;
  }

  /** How long a frame that is sent now waits before it. */
  get queuedMs(): number {
    return Math.max(0, this.freeAt - this.now);
  }

  /** Sends for a while. */
  run(ms: number, { frame, atMost = Number.POSITIVE_INFINITY, each }: SenderOptions): void {
    let sent = 0;
    for (const end = this.now + ms; this.now < end; this.now++) {
      while (this.underWay.length > 0 && this.underWay[0].at <= this.now) {
        const { sequence } = this.underWay.shift() as Arrival;
        this.rate.acknowledged(sequence, this.now);
      }
      while (sent < atMost && this.rate.unacknowledgedBytes <= this.rate.windowBytes(this.now)) {
        sent++;
        this.send(frame);
      }
      each?.();
    }
  }

  /** Nothing passes for a while; then all that was under way is sent anew. */
  stall(ms: number): void {
    this.now += ms;
    this.freeAt = this.now + this.rate.unacknowledgedBytes / (this.bytesPerSecond / 1000);
    this.underWay = this.underWay.map(({ sequence }, i, all) => ({
      sequence,
      at: this.now + this.rttMs + ((i + 1) / all.length) * (this.freeAt - this.now),
    }));
  }

  private send(bytes: number): void {
    this.sequence++;
    this.rate.sent(this.sequence, bytes, this.now);
    this.freeAt = Math.max(this.freeAt, this.now) + bytes / (this.bytesPerSecond / 1000);
    const at = this.freeAt + this.rttMs;
    const bunched = this.bunchMs === 0 ? at : Math.ceil(at / this.bunchMs) * this.bunchMs;
    this.underWay.push({ sequence: this.sequence, at: bunched });
  }
}
