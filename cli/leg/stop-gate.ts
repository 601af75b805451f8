/**
 * Makes QEMU stop the VM when the source wants it, and not before.
 *
 *     closed ──open──► open: QEMU may stop at once
 *       │  ▲             │
 *     drain └───close────┘
 *       ▼  │
 *     draining ──open──► open: QEMU has sent next to nothing since, and sends nothing before it stops
 *
 * While it drains, QEMU's rate is limited by its own parameter and its stream is read: QEMU then waits outside its
 * locks, and looks ten times a second whether it may stop. Held by not being read it would first send all that it has.
 */

import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { SourcePump } from "./source-pump.ts";

/** What QEMU is told when it may stop at once: the most that it takes. Its own guess does not matter then. */
const openDowntimeLimitMs = 2_000_000;
const closedDowntimeLimitMs = 1;
/** QEMU's rate while the queue is drained: at least a page each time that it looks, or a part of what the link carries. */
const leastTrickleBytesPerSecond = 40 * 1024;
const trickleShare = 1 / 32;
/** Draining takes as long as the queue is; so much longer, and something else is in the way. */
const graceMs = 500;

/** The gate of one migration. Times are milliseconds of one monotonic clock. */
export class StopGate {
  private readonly outgoing: OutgoingMigration;
  private readonly pump: SourcePump;
  private readonly fullBytesPerSecond: number;
  private isOpen = false;
  private drainUntil: number | null = null;

  /** `fullBytesPerSecond`: QEMU's own limit while nothing is drained. */
  constructor(outgoing: OutgoingMigration, pump: SourcePump, fullBytesPerSecond: number) {
    this.outgoing = outgoing;
    this.pump = pump;
    this.fullBytesPerSecond = fullBytesPerSecond;
  }

  get isDraining(): boolean {
    return this.drainUntil !== null;
  }

  /** True if draining has taken longer than it should. */
  isLate(now: number): boolean {
    return this.drainUntil !== null && now > this.drainUntil;
  }

  /** Lets QEMU stop the VM, or not. */
  async setOpen(isOpen: boolean): Promise<void> {
    if (isOpen === this.isOpen) return;
    this.isOpen = isOpen;
    await this.outgoing.setDowntimeLimit(isOpen ? openDowntimeLimitMs : closedDowntimeLimitMs);
  }

  /** Begins to drain a queue that takes so long at the link's rate. */
  async drain(queueMs: number, bytesPerSecond: number, now: number): Promise<void> {
    this.drainUntil = now + queueMs + graceMs;
    // Before the limit is set: what held the stream so far may have set another one.
    this.pump.drainQueue(true);
    await this.outgoing.setMaxBandwidth(
      Math.max(leastTrickleBytesPerSecond, Math.floor(bytesPerSecond * trickleShare)),
    );
  }

  /** Goes on with rounds. */
  async endDrain(): Promise<void> {
    this.drainUntil = null;
    await this.setOpen(false);
    await this.outgoing.setMaxBandwidth(this.fullBytesPerSecond);
    this.pump.drainQueue(false);
  }
}
