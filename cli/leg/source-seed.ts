/**
 * A seed, seen from the source: changes are carried ahead for a later leg, and the VM runs all the time. It is no state that
 * could be restarted: each page is as it was when QEMU's one pass came to it.
 *
 *     disks frozen, the VM running ─► frozen images read ─► one pass over RAM ─► QEMU's migration cancelled ─► roots compared
 *
 * Nothing is lost if QEMU has not told a page, or tells it late: a seed is what both sites say that it is, and a later leg
 * compares all of the memory with that.
 */

import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import { traceStep } from "./leg-steps.ts";
import { LegProgress } from "./progress.ts";
import type { StreamEnd } from "./pump-options.ts";
import { followPass, paceOf } from "./seed-pass.ts";
import type { SourceLegContext } from "./source-context.ts";
import { type FreezeDisks, SourceCopy } from "./source-copy.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourcePump } from "./source-pump.ts";

/** Runs one seed. Throws OperationError "aborted" when there is none; the VM runs on here in any case. */
export class SourceSeed extends SourceCopy {
  protected override takenAt = Date.now();
  private ending: Promise<void> | null = null;
  /** When the VM was stopped, if it stands still, in milliseconds since 1970, and by whom. */
  private stop: { readonly at: number; readonly isByOthers: Promise<boolean> } | null = null;
  private readonly pauses: Promise<number>[] = [];

  constructor(context: SourceLegContext, freezeDisks: FreezeDisks) {
    super(context, "seed", freezeDisks);
  }

  /** The disks are frozen and read, then RAM is read in one pass. */
  protected override async sendEverything(pump: SourcePump): Promise<StreamEnd> {
    const { onProgress, definition, qmp } = this.context;
    this.machine.go("rounds");
    const progress = new LegProgress(definition.name, definition.memoryBytes, onProgress);
    this.takenAt = Date.now();
    this.passMayBegin.resolve();
    const outgoing = await this.race(this.qemu.started);
    let isOver = false;
    const endPass = () => {
      isOver = true;
      this.endPass().catch(this.failed);
    };
    const unsubscribe = qmp.onEvent(({ name, data, timestampMs }) => {
      if (name === "MIGRATION_PASS" && Number(data["pass"]) > 1) endPass();
      if (name === "STOP") this.stop = { at: timestampMs, isByOthers: outgoing.isStoppedByOthers() };
      if (name === "RESUME") this.pauses.push(this.pauseUntil(timestampMs));
    });
    // An idle guest has left QEMU nothing to send: it has stopped the VM, which must run on at once.
    outgoing.preSwitchover.then(endPass, () => {});
    try {
      // A small memory is soon at its end.
      this.qemu.paceAt(paceOf(definition.memoryBytes));
      this.qemu.pumpInto(outgoing, pump);
      await this.race(pump.established);
      const disks = await this.race(this.openDisks(pump));
      // No leg may end between the freezing and the note of it.
      await this.freezeDisks();
      if (disks) traceStep({ side: "source", step: "disk-round" });
      disks?.startRound((error) => this.failed(error as Error));
      this.lastInfo = await followPass({
        link: this.link,
        pump,
        outgoing,
        disks,
        progress,
        paceAt: (bytesPerSecond) => this.qemu.paceAt(bytesPerSecond),
        smallBytes: pump.geometry.totalPages * pageBytes - definition.memoryBytes,
        race: (promise) => this.race(promise),
        isOver: () => isOver,
      });
      this.times.reached("first-pass");
      return await this.readRest(pump, outgoing, disks);
    } finally {
      unsubscribe();
    }
  }

  /** The pass is over: QEMU's migration ends, and so does the reading of the disks. */
  protected override async readRest(
    pump: SourcePump,
    _outgoing: OutgoingMigration,
    disks: SourceDisks | null,
  ): Promise<StreamEnd> {
    await this.race(this.endPass());
    for (const pause of this.pauses) this.pauseMs += await pause;
    await this.race(disks?.finish() ?? Promise.resolve());
    this.areDisksRead = true;
    traceStep({ side: "source", step: "disks-read" });
    // There is no device state, since there is no instant that it could be of.
    pump.sendDevice(new Uint8Array(0));
    const end = await this.race(pump.ended);
    traceStep({ side: "source", step: "stream-ended" });
    return end;
  }

  protected override async letRunOn(): Promise<void> {
    this.passMayBegin.reject(new Error("the seed is over"));
    await this.ending?.catch(() => {});
    if (!this.isRunningOn) await this.qemu.giveUp(false, (await this.stop?.isByOthers) ?? false);
    this.isRunningOn = true;
    await super.letRunOn();
  }

  private endPass(): Promise<void> {
    this.ending ??= this.endMigration();
    return this.ending;
  }

  private async endMigration(): Promise<void> {
    await this.qemu.endPass((await this.stop?.isByOthers) ?? false);
    this.isRunningOn = true;
  }

  /** How long QEMU's migration has stopped the VM, which runs again; 0 if somebody else has. */
  private async pauseUntil(resumedAt: number): Promise<number> {
    const { stop } = this;
    this.stop = null;
    if (stop === null || (await stop.isByOthers)) return 0;
    return Math.max(1, resumedAt - stop.at);
  }
}
