/**
 * Whether a link is what limits, by the share of the time in which what was made had to wait for it: newer time counts
 * more. What is in flight does not say that: whoever makes less than the link carries has about a bandwidth-delay product
 * of his own rate in flight, too.
 */

import { performance } from "node:perf_hooks";

/** Time that is this old counts for 1/e of what passes now. */
const memoryMs = 500;
/** Full for more than this share of the time. */
const busyShare = 0.25;

/** Follows one link. */
export class LinkLoad {
  private readonly clock: () => number;
  private share = 0;
  private isFull = false;
  private at: number;

  /** `clock` gives milliseconds. */
  constructor(clock: () => number = () => performance.now()) {
    this.clock = clock;
    this.at = clock();
  }

  /** Told when the link becomes full, when it has room again, and as often as one likes. */
  setFull(isFull: boolean): void {
    this.settle();
    this.isFull = isFull;
  }

  /** True while the link is the limit: more is made than it takes. */
  get isBusy(): boolean {
    this.settle();
    return this.share > busyShare;
  }

  private settle(): void {
    const now = this.clock();
    const target = this.isFull ? 1 : 0;
    this.share = target + (this.share - target) * Math.exp((this.at - now) / memoryMs);
    this.at = now;
  }
}
