/**
 * One pass of QEMU over the memory while the VM runs, for a seed. QEMU before 8.1 stops the VM when at a look at its bitmap less is
 * dirty than it has sent in a millisecond, and it looks whenever it has sent all. So the end of the pass is read slowly: what the
 * guest has written meanwhile is more than QEMU sends until its migration is cancelled.
 *
 *     disks read first, RAM held ─► pass, fast ─► slower ─► slowly ─► second pass seen: it is over
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import { traceStep } from "./leg-steps.ts";
import type { LegProgress } from "./progress.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourceLink } from "./source-link.ts";
import type { SourcePump } from "./source-pump.ts";

const pollMs = 50;
/** Near the end of the pass: zero pages take QEMU no time. */
const nearPollMs = 10;
const nearBytes = 256 << 20;
const mebibyte = 1 << 20;
/** QEMU's rate at most, in bytes a second. */
const fastestPass = 256 * mebibyte;
/**
 * So much of the memory is left in the pass, in bytes, and QEMU's rate then. It is kept for each 100 ms: at last a guest that
 * has written to some twenty pages is not stopped.
 */
const paces = [
  { leftBytes: 2 * mebibyte, bytesPerSecond: mebibyte / 2 },
  { leftBytes: 64 * mebibyte, bytesPerSecond: 4 * mebibyte },
  { leftBytes: 256 * mebibyte, bytesPerSecond: 64 * mebibyte },
] as const;

/** What a pass works with. */
export interface SeedPass {
  readonly link: SourceLink;
  readonly pump: SourcePump;
  readonly outgoing: OutgoingMigration;
  /** Being read already; null if no disk moves. */
  readonly disks: SourceDisks | null;
  readonly progress: LegProgress;
  /** Memory after the main block, in bytes: video memory, firmware. Most of it is zero, and the last of it is not. */
  readonly smallBytes: number;
  /** Sets QEMU's rate. */
  readonly paceAt: (bytesPerSecond: number) => void;
  /** Rejects as soon as the leg has failed. */
  readonly race: <T>(promise: Promise<T>) => Promise<T>;
  /** True if QEMU has said that its pass is over. */
  readonly isOver: () => boolean;
}

/** QEMU's rate, in bytes a second, when so much of the memory is left in the pass, with what comes after the main block. */
export function paceOf(leftBytes: number, smallBytes = 0): number {
  return paces.find((one) => leftBytes <= one.leftBytes + smallBytes)?.bytesPerSecond ?? fastestPass;
}

/** Resolves when the disks were read once and QEMU's first pass is over, with QEMU's figures; QEMU goes on sending. */
export async function followPass(pass: SeedPass): Promise<MigrationInfo> {
  const { link, pump, outgoing, disks, progress, race } = pass;
  let pace = 0;
  for (;;) {
    pump.flush();
    const info = await race(outgoing.query());
    const areDisksRead = disks === null || disks.isBulkDone;
    pump.holdRam(!areDisksRead);
    const { ram } = info;
    const isPassOver = pass.isOver() || (ram !== null && ram.dirtySyncCount > 1);
    if (areDisksRead && isPassOver) {
      traceStep({ side: "source", step: "ram-round" });
      return info;
    }
    if (ram !== null) {
      const wanted = paceOf(ram.remainingBytes, pass.smallBytes);
      if (wanted !== pace) pass.paceAt(wanted);
      pace = wanted;
      progress.report(ram, pump.encoder, {
        wireBytes: link.wireBytes,
        bytesPerSecond: pump.rate.bytesPerSecond,
        remainingDiskBytes: disks?.unreadBytes ?? 0,
        throttlePercent: info.throttlePercent,
        diskBulkShare: areDisksRead ? null : disks.bulkShare,
        expectedDowntimeMs: 0,
      });
    }
    await race(sleep(areDisksRead && ram !== null && ram.remainingBytes <= nearBytes ? nearPollMs : pollMs));
  }
}
