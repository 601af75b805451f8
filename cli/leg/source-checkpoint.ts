/**
 * A checkpoint, seen from the source: a leg after which the VM runs on here, and the peer has a generation that can be
 * restarted. The pause is as long as it takes to freeze the disks and to read what is left of the memory:
 *
 *     QEMU stops the VM ─► disks frozen ─► rest of RAM and device state read ─► QEMU told to fail: the VM runs on
 *     rest of the disks, from the frozen images ─► device state ─► roots compared ─► in force at both sites
 *
 * Until QEMU is told so it would let the VM run on by itself if this process died; nothing here can make two of it.
 */

import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import { traceStep } from "./leg-steps.ts";
import { endOfStream } from "./live-rounds.ts";
import type { StreamEnd } from "./pump-options.ts";
import type { SourceLegContext } from "./source-context.ts";
import { type FreezeDisks, SourceCopy } from "./source-copy.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourcePump } from "./source-pump.ts";

/** Runs one checkpoint. Throws OperationError "aborted" when there is none; the VM runs on here in any case. */
export class SourceCheckpoint extends SourceCopy {
  private stoppedAt = 0;

  constructor(context: SourceLegContext, freezeDisks: FreezeDisks) {
    super(context, "checkpoint", freezeDisks);
  }

  protected override get takenAt(): number {
    return this.stoppedAt;
  }

  protected override async readRest(
    pump: SourcePump,
    outgoing: OutgoingMigration,
    disks: SourceDisks | null,
  ): Promise<StreamEnd> {
    let resumedAt: number | null = null;
    const unsubscribe = this.context.qmp.onEvent(({ name, timestampMs }) => {
      if (name === "RESUME") resumedAt ??= timestampMs;
    });
    try {
      this.machine.go("stopped");
      pump.drain();
      // No leg may end between the freezing and the note of it.
      await this.freezeDisks();
      await this.race(outgoing.continueSwitchover());
      const device = await this.race(endOfStream(pump, pump.read));
      traceStep({ side: "source", step: "stream-ended" });
      await this.race(this.qemu.letRunOn());
      this.isRunningOn = true;
      const now = Date.now();
      this.stoppedAt = outgoing.stoppedAt ?? now;
      this.pauseMs = (resumedAt ?? now) - this.stoppedAt;
      this.machine.go("runs-on");
      await this.race(disks?.finish() ?? Promise.resolve());
      this.areDisksRead = true;
      traceStep({ side: "source", step: "disks-read" });
      pump.sendDevice(device);
      return await pump.ended;
    } finally {
      unsubscribe();
    }
  }
}
