/** The migration out of the source's QEMU, begun before anybody can take what it sends. */

import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import { freeChunk } from "../qemu/chunk-memory.ts";
import { type OutgoingMigration, startOutgoing } from "../qemu/outgoing-migration.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { SafeHold } from "../qemu/safe-hold.ts";
import type { SourcePump } from "./source-pump.ts";

/** QEMU's own limit, out of the way: our reading sets the pace. */
export const fullBytesPerSecond = 2 ** 40;

/** How long QEMU may take to end a migration that it was told has failed, before it is cancelled. */
const shutTimeoutMs = 5_000;

/** Where a migration differs from that of a leg that begins now. */
export interface SourceQemuOptions {
  /** QEMU's rate until it is held for the first time; practically unlimited by default. */
  readonly firstBytesPerSecond?: number;
  /** True if the guest may have to be slowed down. */
  readonly canThrottle?: boolean;
  /** True if one pass over the memory is all that is wanted: it ends with `endPass`. */
  readonly isPassOnly?: boolean;
  /** It begins when this resolves, and never if it rejects; at once by default. */
  readonly after?: Promise<unknown>;
  /** Called when the pump has taken a chunk. */
  readonly onChunk?: () => void;
}

/** Holds the first chunks until there is a pump, then hands everything to it. */
export class SourceQemu {
  private readonly qmp: QmpClient;
  private readonly runPath: string;
  private onFailed: (reason: string) => void;
  private readonly options: SourceQemuOptions;
  private starting: Promise<OutgoingMigration>;
  private readonly early: Uint8Array[] = [];
  private readonly warn: (message: string) => void;
  private readonly abandoned = new WeakSet<OutgoingMigration>();
  /** Migrations that are ended as they should. */
  private readonly wanted = new WeakSet<OutgoingMigration>();
  private hold: SafeHold | null = null;
  private pump: SourcePump | null = null;

  /** Tells QEMU to migrate. `onFailed` is called if it ends the migration. */
  constructor(
    qmp: QmpClient,
    runPath: string,
    onFailed: (reason: string) => void,
    warn: (message: string) => void,
    options: SourceQemuOptions = {},
  ) {
    this.options = options;
    this.qmp = qmp;
    this.runPath = runPath;
    this.onFailed = onFailed;
    this.warn = warn;
    this.starting = options.after ? options.after.then(() => this.start()) : this.start();
    this.starting.catch(() => {});
  }

  /** Resolves when QEMU has begun. Rejects with OperationError if it refuses. */
  get started(): Promise<OutgoingMigration> {
    return this.starting;
  }

  /** From now on the pump takes the stream. */
  pumpInto(outgoing: OutgoingMigration, pump: SourcePump): void {
    const hold = this.hold as SafeHold;
    this.pump = pump;
    pump.attach(outgoing, hold);
    for (const chunk of this.early.splice(0)) pump.push(chunk);
    pump.pace();
  }

  /** Hands the migration over to a leg: its end is told there from now on, and its rate is no longer limited. */
  async handTo(onFailed: (reason: string) => void): Promise<void> {
    this.onFailed = onFailed;
    const outgoing = await this.starting;
    // A hold that is slow now lifts its limit itself.
    if (!this.hold?.isSlow) await outgoing.setMaxBandwidth(fullBytesPerSecond);
  }

  /** Holds QEMU so that it harms nothing however long it lasts; `onSettled` is called when it does. */
  settleHold(onSettled: () => void): void {
    this.hold?.settle(onSettled);
  }

  /** QEMU's own limit of its rate from now on, in bytes a second. */
  paceAt(bytesPerSecond: number): void {
    this.hold?.paceAt(bytesPerSecond);
  }

  /**
   * One pass was all that was wanted: the migration is cancelled, and what QEMU has sent by then is read. The VM runs on.
   * `leaveStopped`: somebody else has stopped it. Rejects with OperationError if it does not run on.
   */
  async endPass(leaveStopped: boolean): Promise<void> {
    const outgoing = await this.starting;
    this.wanted.add(outgoing);
    this.hold?.stop();
    await outgoing.cancelAndRead({ leaveStopped });
    this.abandoned.add(outgoing);
  }

  /** Gives the migration up in the middle of the leg: the VM runs again. */
  async abandon(): Promise<void> {
    const outgoing = await this.starting;
    this.hold?.stop();
    this.pump?.restartStream();
    this.pump = null;
    this.abandoned.add(outgoing);
    await outgoing.abort();
  }

  /** Begins anew after `abandon`. Rejects with OperationError if QEMU refuses. */
  startAgain(): Promise<OutgoingMigration> {
    this.starting = this.start();
    return this.starting;
  }

  /**
   * Makes the VM run again after a leg that did not come to RELEASED. `isCompleting`: SHUT 0 was answered, so QEMU
   * is, or will be, in postmigrate, and only `cont` revives the VM. `leaveStopped`: somebody else has stopped it.
   */
  async giveUp(isCompleting: boolean, leaveStopped = false): Promise<void> {
    const { warn } = this;
    const outgoing = await this.starting.catch(() => null);
    this.hold?.stop();
    if (outgoing === null) return;
    if (isCompleting) {
      await outgoing.completed.catch(() => {});
      await this.qmp.execute("cont").catch((error) => warn(messageOf(error)));
    } else {
      await outgoing.abort({ leaveStopped }).catch((error) => warn(messageOf(error)));
    }
  }

  /**
   * Everything was read of a state that goes nowhere: QEMU is told that the migration has failed, which makes it let the VM
   * run on, as our death would. Resolves when it runs. Rejects with OperationError if it does not.
   */
  async letRunOn(): Promise<void> {
    const outgoing = await this.starting;
    this.hold?.stop();
    this.abandoned.add(outgoing);
    outgoing.answerShut(1);
    await Promise.race([outgoing.failed, sleep(shutTimeoutMs)]);
    await outgoing.abort();
  }

  private async start(): Promise<OutgoingMigration> {
    const {
      firstBytesPerSecond = fullBytesPerSecond,
      canThrottle = false,
      isPassOnly = false,
      onChunk,
    } = this.options;
    const outgoing = await startOutgoing(this.qmp, {
      socketPath: join(this.runPath, "out.sock"),
      maxBandwidthBytesPerSecond: firstBytesPerSecond,
      canThrottle,
      isPassOnly,
      onData: (chunk) => {
        if (this.abandoned.has(outgoing)) return;
        if (this.pump) {
          this.pump.push(chunk);
          freeChunk(chunk);
          onChunk?.();
        } else this.early.push(chunk);
      },
    });
    outgoing.failed.then((reason) => {
      if (!this.abandoned.has(outgoing) && !this.wanted.has(outgoing)) this.onFailed(reason);
    });
    outgoing.preSwitchover.catch(() => {});
    outgoing.completed.catch(() => {});
    this.hold = new SafeHold(outgoing, fullBytesPerSecond, (error) => this.warn(messageOf(error)));
    this.hold.hold();
    return outgoing;
  }
}
