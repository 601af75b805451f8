/** Keeps what is sent below a rate: a queue that lets go of a frame when the ones before it have had their time. */

import { performance } from "node:perf_hooks";

/** A frame, or the text of a message. */
export type Paced = Uint8Array | string;

/** What may be let go at once, in time at the rate: a timer wakes up no finer. */
const burstMs = 5;

/** Sends at most `bytesPerSecond` on average over any stretch longer than a few frames. */
export class Pacer {
  private readonly bytesPerSecond: number;
  private readonly send: (frame: Paced) => void;
  private readonly queue: Paced[] = [];
  private timer: NodeJS.Timeout | null = null;
  /** Time at which everything let go so far has had its time. */
  private freeAt = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number, send: (frame: Paced) => void) {
    this.bytesPerSecond = bytesPerSecond;
    this.send = send;
  }

  /** Sends the frame when its turn comes, in order. */
  push(frame: Paced): void {
    this.queue.push(frame);
    if (this.timer === null) this.letGo();
  }

  /** Sends what waits in order before anything else that the caller sends next. */
  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    for (const frame of this.queue.splice(0)) this.send(frame);
  }

  /** Forgets what waits. */
  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.queue.length = 0;
  }

  private letGo(): void {
    this.timer = null;
    const now = performance.now();
    this.freeAt = Math.max(this.freeAt, now);
    while (this.queue.length > 0 && this.freeAt <= now + burstMs) {
      const frame = this.queue.shift() as Paced;
      this.freeAt += (frame.length / this.bytesPerSecond) * 1000;
      this.send(frame);
    }
    if (this.queue.length > 0)
      this.timer = setTimeout(() => this.letGo(), Math.max(1, this.freeAt - burstMs - now));
  }
}
