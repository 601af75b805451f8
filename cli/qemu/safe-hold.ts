/**
 * Holding QEMU's migration without harm. Simply not reading blocks QEMU with locks held: a `device_add` then hangs
 * its QMP. So a hold that lasts goes over to a better one:
 *
 *     reading ──hold──► short hold ──a second later──► trickle ──1.5 s──► long hold
 *        ▲               (not read)                  (little may be sent,   (not read; QEMU waits
 *        │                                            and is read)           outside its locks)
 *        └──────────────────────────────── release ◄────────────────────────────┘
 */

import type { OutgoingMigration } from "./outgoing-migration.ts";

/** How long a plain hold may last. Shorter ones are the everyday pacing by the link. */
const shortHoldMs = 1_000;
/** QEMU looks at its limit every 100 ms: after this it waits for that limit, not for our reading. */
const trickleMs = 1_500;
const trickleBytesPerSecond = 40 * 1024;

/** Holds and releases one migration. */
export class SafeHold {
  private readonly outgoing: OutgoingMigration;
  private fullBytesPerSecond: number;
  private readonly warn: (error: unknown) => void;
  private timer: NodeJS.Timeout | null = null;
  private isHeld = false;
  private isLimited = false;
  private isOver = false;

  /** `fullBytesPerSecond`: QEMU's own limit while it is not held. `warn` gets what QEMU refuses. */
  constructor(outgoing: OutgoingMigration, fullBytesPerSecond: number, warn: (error: unknown) => void) {
    this.outgoing = outgoing;
    this.fullBytesPerSecond = fullBytesPerSecond;
    this.warn = warn;
  }

  /** Stops reading. A few chunks may still come, and some tens of kilobytes when the hold lasts. */
  hold(): void {
    if (this.isHeld || this.isOver) return;
    this.isHeld = true;
    this.outgoing.pause();
    this.timer = setTimeout(() => this.trickle(), shortHoldMs);
  }

  /** True while QEMU's own limit is a low one. */
  get isSlow(): boolean {
    return this.isLimited;
  }

  /** QEMU's own limit from now on while it is not held. */
  paceAt(bytesPerSecond: number): void {
    this.fullBytesPerSecond = bytesPerSecond;
    if (!this.isLimited && !this.isOver) this.limit(bytesPerSecond);
  }

  /** Holds, and goes over to the long hold at once; `onSettled` is called when nothing is read any more. */
  settle(onSettled: () => void): void {
    this.hold();
    if (!this.isHeld || this.isLimited) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.trickle(onSettled);
  }

  /** Reads on at full speed. */
  release(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.outgoing.resume();
    if (this.isLimited) this.limit(this.fullBytesPerSecond);
    this.isLimited = false;
  }

  /**
   * The migration is over, or reads at full speed to its end: releases it and never holds again. A hold that came
   * later would slow the next migration of the same QEMU.
   */
  stop(): void {
    this.release();
    this.isOver = true;
  }

  private trickle(onSettled: () => void = () => {}): void {
    this.isLimited = true;
    this.limit(trickleBytesPerSecond);
    this.outgoing.resume();
    this.timer = setTimeout(() => {
      this.outgoing.pause();
      onSettled();
    }, trickleMs);
  }

  private limit(bytesPerSecond: number): void {
    this.outgoing.setMaxBandwidth(bytesPerSecond).catch(this.warn);
  }
}
