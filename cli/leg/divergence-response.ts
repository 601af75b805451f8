/** What a leg does about a guest that changes faster than the link carries: it says so once, and does what it was told. */

import { OperationError } from "../errors.ts";
import type { Throttle } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { DeliveryRate } from "../wan/delivery-rate.ts";
import type { DirtyCurve } from "./dirty-curve.ts";
import {
  type DivergenceEvent,
  type DivergencePolicy,
  DivergenceWatch,
  divergenceEvent,
} from "./divergence.ts";
import { dataBudgetMs } from "./switchover.ts";

/** How the guest is slowed down: by a third at first, and clearly more each time that QEMU finds it still too fast. */
const realThrottle: Throttle = { initialPercent: 30, incrementPercent: 20, maxPercent: 99 };

/** What is needed for it. */
export interface ResponseOptions {
  readonly vm: string;
  readonly rate: DeliveryRate;
  readonly downtimeLimitMs: number;
  readonly bitsPerSecond: number | null;
  readonly onDivergence: DivergencePolicy;
  readonly diverged: (event: DivergenceEvent) => void;
}

/** Watches RAM and disks of one leg. */
export class DivergenceResponse {
  private readonly options: ResponseOptions;
  private readonly ram = new DivergenceWatch();
  private readonly disks = new DivergenceWatch();
  private diskRoundAt: number | null = null;
  private isStrict = true;
  private wasTold = false;
  private throttled: OutgoingMigration | null = null;

  constructor(options: ResponseOptions) {
    this.options = options;
  }

  /** How long the data of the switchover may take now. */
  get budgetMs(): number {
    const { downtimeLimitMs, rate } = this.options;
    return this.isStrict ? dataBudgetMs(downtimeLimitMs, rate.minRttMs) : downtimeLimitMs;
  }

  /** A pass over the memory has begun. */
  ramPass({ passes }: DirtyCurve, encodedShare: number): void {
    const newest = passes.at(-1);
    if (newest) this.ram.observe(newest.foundBytes * encodedShare, newest.elapsedMs);
  }

  /** A further round of the disks has begun, with so many encoded bytes. */
  diskRound(bytes: number, now: number): void {
    if (this.diskRoundAt !== null) this.disks.observe(bytes, now - this.diskRoundAt);
    this.diskRoundAt = now;
  }

  /** The link was lost: the time of the passes says nothing. */
  forget(): void {
    this.ram.forget();
    this.disks.forget();
    this.diskRoundAt = null;
  }

  /** Tells it once, and acts. Throws OperationError "aborted" if the leg is to be given up. */
  async judge(outgoing: OutgoingMigration): Promise<void> {
    const { rate, downtimeLimitMs, onDivergence, bitsPerSecond, vm, diverged } = this.options;
    const { bytesPerSecond } = rate;
    if (bytesPerSecond === null) return;
    const strict = { bytesPerSecond, budgetMs: this.budgetMs };
    if (this.ram.judge(strict) === null && this.disks.judge(strict) === null) return;
    // It does not come down to a downtime within the limit. The handover's part of it is paid whenever it stops.
    this.isStrict = false;
    const link = { bytesPerSecond, budgetMs: this.budgetMs };
    const ram = this.ram.judge(link);
    const figures = ram ?? this.disks.judge(link);
    if (figures === null) return;
    const event = divergenceEvent(
      {
        vm,
        what: ram ? "memory" : "disks",
        downtimeLimitMs,
        policy: onDivergence,
        cap: bitsPerSecond,
      },
      figures,
    );
    if (!this.wasTold) diverged(event);
    this.wasTold = true;
    if (onDivergence === "stop") {
      throw new OperationError("aborted", `Migration aborted, the VM stays at the source: ${event.message}`);
    }
    // Another migration of the same leg, after the link was lost, begins with a guest at full speed.
    if (onDivergence === "throttle" && this.throttled !== outgoing) {
      this.throttled = outgoing;
      await outgoing.throttle(realThrottle);
    }
  }
}
