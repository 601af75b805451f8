/**
 * A leg after which the VM runs on here and the peer has a generation more, seen from the source: what checkpoints and
 * seeds have in common. Once everything is sent,
 *
 *     finish ─► roots compared ─► keep ─► in force at both sites
 */

import { setTimeout as sleep } from "node:timers/promises";
import { toHex } from "../../src/bytes.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import { asNoCopy, type CopyPurpose } from "./leg-failure.ts";
import type { StreamEnd } from "./pump-options.ts";
import type { SourceLegContext, SourceOutcome } from "./source-context.ts";
import { SourceLeg } from "./source-leg.ts";
import type { SourcePump } from "./source-pump.ts";
import type { LegEnd } from "./source-seal.ts";

const preparedTimeoutMs = 60_000;
const keptTimeoutMs = 30_000;
const drainPollMs = 50;

/** Freezes the VM's disks: from then on it writes to new images above them. */
export type FreezeDisks = () => Promise<void>;

/** Runs one copy. Throws OperationError "aborted" when there is none; the VM runs on here in any case. */
export abstract class SourceCopy extends SourceLeg {
  protected readonly freezeDisks: FreezeDisks;
  /** QEMU's migration is over, and the VM runs. */
  protected isRunningOn = false;
  protected areDisksRead = false;
  /** How long the VM stood still. */
  protected pauseMs = 0;
  private readonly copyPurpose: CopyPurpose;
  private isSealing = false;
  private sealed: StoredGeneration | null = null;

  constructor(context: SourceLegContext, purpose: CopyPurpose, freezeDisks: FreezeDisks) {
    super(context, purpose);
    this.copyPurpose = purpose;
    this.freezeDisks = freezeDisks;
  }

  /** When the state was taken, in milliseconds since 1970. */
  protected abstract get takenAt(): number;

  /** Milliseconds since the state was taken. */
  get stateAgeMs(): number {
    return Math.max(0, Math.round(Date.now() - this.takenAt));
  }

  protected override async conclude(
    pump: SourcePump,
    end: StreamEnd,
    record: OwnershipRecord,
  ): Promise<SourceOutcome> {
    const { peer, definition, linkTimeoutMs } = this.context;
    const root = pump.digests.root(end.digest, this.disks?.tops());
    this.machine.go("finishing");
    // The queue may be long, and the peer's time for its answer begins when it has everything.
    while (pump.rate.unacknowledgedBytes > 0) await this.race(sleep(drainPollMs));
    const { sequence } = end;
    this.link.send({ type: "finish", root: toHex(root), sequence, ageMs: this.stateAgeMs });
    const prepared = await this.race(this.replies.wait("prepared", preparedTimeoutMs + linkTimeoutMs));
    if (prepared.root !== toHex(root)) {
      throw new OperationError(
        "failed",
        `Cannot keep a ${this.copyPurpose} of ${definition.name}: ${peer} has built another state than was sent`,
      );
    }
    this.machine.go("keeping");
    this.link.send({ type: "keep" });
    const ended: LegEnd = {
      purpose: this.copyPurpose,
      pump,
      disks: this.disks,
      stream: end,
      root,
      epoch: record.epoch,
      stoppedAt: this.takenAt,
    };
    this.isSealing = true;
    this.sealed = await this.seal(ended);
    await this.recordIntact(this.sealed);
    await this.race(this.replies.wait("kept", keptTimeoutMs + linkTimeoutMs));
    this.machine.go("kept");
    const result = this.resultOf(ended, this.pauseMs);
    return { outcome: "done", result, connection: this.link.handOut(), sealed: this.sealed, core: pump.core };
  }

  protected override async letRunOn(): Promise<void> {
    if (!this.isRunningOn) await super.letRunOn();
    if (!this.areDisksRead || this.isSealing) return;
    // The VM writes above them by now: with their digests they are complete images, though no generation names them.
    await this.disks?.seal().catch((error) => this.context.warn(messageOf(error)));
  }

  protected override failureOf(error: unknown): OperationError {
    return asNoCopy(this.copyPurpose, error);
  }

  /** What is in force here stays, also if the peer has not said that it keeps it too. */
  protected override async dropCopy(): Promise<void> {
    if (this.sealed === null) await super.dropCopy();
  }
}
