/**
 * Keeps a standing migration at a VM as long as it is wanted: makes it when nothing else is done with the VM, gives it
 * up for whatever it is in the way of, and makes it again.
 *
 *     off ──watch──► waiting ──free──► making ──► standing ──leg──► waiting
 *                      ▲                  │           │
 *                      ├──────────────────┴─failed────┤   later each time
 *                      └───────────given up───────────┘   soon
 *
 * Failures are spaced out, doubling; a VM for which it is useless is left alone until it comes anew.
 */

import { messageOf } from "../errors.ts";
import type { StandingMigration } from "../leg/standing-migration.ts";

/** What the tracking of one VM works with. */
export interface TrackingTask {
  /** Makes one; null if the VM is not there any more. Rejects when it cannot be made now. */
  readonly make: (signal: AbortSignal) => Promise<StandingMigration | null>;
  /** True if nothing else is done with the VM. */
  readonly isFree: () => boolean;
  readonly log: (message: string) => void;
}

/** Waiting times in milliseconds; those of the product are the default. */
export interface TrackingTimes {
  /** After it was given up, and while the VM is busy. */
  readonly againMs: number;
  /** After a first failure; doubled with each further one, up to `longestMs`. */
  readonly failedMs: number;
  readonly longestMs: number;
  /** A hold that lasted so long was no failure to begin with. */
  readonly provenMs: number;
}

const usualTimes: TrackingTimes = {
  againMs: 5_000,
  failedMs: 30_000,
  longestMs: 3_600_000,
  provenMs: 600_000,
};

/** The tracking of one VM. */
export class Tracking {
  private readonly times: TrackingTimes;
  private task: TrackingTask | null = null;
  private current: StandingMigration | null = null;
  private making: { readonly cut: AbortController; readonly done: Promise<void> } | null = null;
  /** The end of one that failed: QEMU is not free before. */
  private ending: Promise<void> | null = null;
  private timer: NodeJS.Timeout | null = null;
  private failures = 0;
  private lastReason: string | null = null;

  constructor(times: TrackingTimes = usualTimes) {
    this.times = times;
  }

  /** The standing migration, if there is one that a leg can go on from. */
  get standing(): StandingMigration | null {
    return this.current;
  }

  /** True while QEMU has a migration of ours, or may get one. */
  get isActive(): boolean {
    return this.current !== null || this.making !== null || this.ending !== null;
  }

  /** Why there is none, or what became of the last one; null if nothing was tried. */
  get reason(): string | null {
    return this.lastReason;
  }

  /** True if it is, or will be, made. */
  get isWatched(): boolean {
    return this.task !== null;
  }

  /** From now on the VM shall have one; the first after `delayMs`. */
  watch(task: TrackingTask, delayMs: number): void {
    this.task = task;
    this.failures = 0;
    this.lastReason = null;
    this.schedule(delayMs);
  }

  /** The VM shall have none any more. Resolves when it has none. */
  async end(why: string): Promise<void> {
    this.task = null;
    await this.giveUp(why);
    this.lastReason = why;
  }

  /** Cancels it; it is made again when the VM is free. Resolves when QEMU has no migration of ours. */
  async giveUp(why: string): Promise<void> {
    await this.stopMaking();
    const { current } = this;
    if (current !== null) {
      this.task?.log(`The standing migration is given up: ${why}`);
      await current.discard(why);
      this.lastReason = `it was given up: ${why}`;
    }
    this.schedule(this.times.againMs);
  }

  /** What a leg may go on from, or null. None is made from now on until the VM is free again. */
  async forLeg(): Promise<StandingMigration | null> {
    await this.stopMaking();
    this.schedule(this.times.againMs);
    return this.current;
  }

  private async stopMaking(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.making?.cut.abort();
    await this.making?.done;
    await this.ending;
  }

  private schedule(delayMs: number): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.task === null || this.current !== null) return;
    this.timer = setTimeout(() => this.wake(), delayMs);
    // A site that ends does not wait for this.
    this.timer.unref();
  }

  private wake(): void {
    this.timer = null;
    const { task } = this;
    if (task === null || this.isActive) return;
    if (!task.isFree()) {
      this.schedule(this.times.againMs);
      return;
    }
    const cut = new AbortController();
    const done = this.make(task, cut.signal).finally(() => {
      this.making = null;
    });
    this.making = { cut, done };
  }

  private async make(task: TrackingTask, signal: AbortSignal): Promise<void> {
    try {
      const made = await task.make(signal);
      if (signal.aborted) {
        await made?.discard("it was not wanted any more");
        this.schedule(this.times.againMs);
      } else if (made === null) this.task = null;
      else this.keep(task, made);
    } catch (error) {
      if (signal.aborted) this.schedule(this.times.againMs);
      else this.failed(task, messageOf(error));
    }
  }

  private keep(task: TrackingTask, made: StandingMigration): void {
    this.current = made;
    this.lastReason = null;
    made.over.then(({ how, why }) => {
      if (this.current !== made) return;
      this.current = null;
      if (how !== "adopted") {
        this.ending = made
          .discard(why)
          .catch((error) => task.log(`Cannot end a standing migration: ${messageOf(error)}`))
          .finally(() => {
            this.ending = null;
          });
      }
      const { heldSince } = made;
      if (heldSince !== null && Date.now() - heldSince >= this.times.provenMs) this.failures = 0;
      if (how === "failed") this.failed(task, why);
      else if (how === "useless") {
        this.lastReason = why;
        this.task = null;
      } else this.schedule(this.times.againMs);
    });
  }

  private failed(task: TrackingTask, why: string): void {
    if (this.task !== task) return;
    this.failures++;
    this.lastReason = why;
    const delayMs = Math.min(this.times.longestMs, this.times.failedMs * 2 ** (this.failures - 1));
    task.log(`No standing migration: ${why}; it is tried again in ${delayMs / 1000} s`);
    this.schedule(delayMs);
  }
}
