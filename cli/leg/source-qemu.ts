/** The migration out of the source's QEMU, begun before anybody can take what it sends. */

import { join } from "node:path";
import { messageOf } from "../errors.ts";
import { type OutgoingMigration, startOutgoing } from "../qemu/outgoing-migration.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { SafeHold } from "../qemu/safe-hold.ts";
import type { SourcePump } from "./source-pump.ts";

/** QEMU's own limit, out of the way: our reading sets the pace. */
const fullBytesPerSecond = 2 ** 40;

/** Holds the first chunks until there is a pump, then hands everything to it. */
export class SourceQemu {
  private readonly qmp: QmpClient;
  private readonly runPath: string;
  private readonly onFailed: (reason: string) => void;
  private starting: Promise<OutgoingMigration>;
  private readonly early: Uint8Array[] = [];
  private readonly warn: (message: string) => void;
  private readonly abandoned = new WeakSet<OutgoingMigration>();
  private hold: SafeHold | null = null;
  private pump: SourcePump | null = null;

  /** Tells QEMU to migrate. `onFailed` is called if it ends the migration. */
  constructor(
    qmp: QmpClient,
    runPath: string,
    onFailed: (reason: string) => void,
    warn: (message: string) => void,
  ) {
    this.qmp = qmp;
    this.runPath = runPath;
    this.onFailed = onFailed;
    this.warn = warn;
    this.starting = this.start();
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
   * is, or will be, in postmigrate, and only `cont` revives the VM.
   */
  async giveUp(isCompleting: boolean): Promise<void> {
    const { warn } = this;
    const outgoing = await this.starting.catch(() => null);
    this.hold?.stop();
    if (outgoing === null) return;
    if (isCompleting) {
      await outgoing.completed.catch(() => {});
      await this.qmp.execute("cont").catch((error) => warn(messageOf(error)));
    } else {
      await outgoing.abort().catch((error) => warn(messageOf(error)));
    }
  }

  private async start(): Promise<OutgoingMigration> {
    const outgoing = await startOutgoing(this.qmp, {
      socketPath: join(this.runPath, "out.sock"),
      maxBandwidthBytesPerSecond: fullBytesPerSecond,
      onData: (chunk) => {
        if (this.abandoned.has(outgoing)) return;
        if (this.pump) this.pump.push(chunk);
        else this.early.push(chunk);
      },
    });
    outgoing.failed.then((reason) => {
      if (!this.abandoned.has(outgoing)) this.onFailed(reason);
    });
    outgoing.preSwitchover.catch(() => {});
    outgoing.completed.catch(() => {});
    this.hold = new SafeHold(outgoing, fullBytesPerSecond, (error) => this.warn(messageOf(error)));
    this.hold.hold();
    return outgoing;
  }
}
