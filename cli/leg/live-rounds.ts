/** The rounds of a leg at the source, until everything is sent: RAM and disks over one link, with one decision to stop. */

import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import { traceStep } from "./leg-steps.ts";
import type { LegProgress } from "./progress.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourceLink } from "./source-link.ts";
import type { SourcePump, StreamEnd } from "./source-pump.ts";
import { decideSwitchover } from "./switchover.ts";

/** Silence of QEMU, after it has stopped the VM, that means that its stream will not end. */
const streamQuietMs = 10_000;
const pollMs = 50;
/** What QEMU is told when it may stop at once; its own guess does not matter then. */
const openDowntimeLimitMs = 60_000;
/** What is marked below this, in bytes on the WAN, waits for the stop if it fits in it. */
const smallRoundBytes = 1 << 20;

/** What the rounds work with. */
export interface LiveRoundsOptions {
  readonly link: SourceLink;
  readonly pump: SourcePump;
  /** QEMU's migration, when it has begun. */
  readonly start: () => Promise<OutgoingMigration>;
  /** Gives it up, so that the VM runs on, and begins another one when the link is back. */
  readonly startAgain: () => Promise<OutgoingMigration>;
  /** Opened once the stream has named the RAM blocks; null if no disk moves. */
  readonly openDisks: () => Promise<SourceDisks | null>;
  readonly progress: LegProgress;
  readonly downtimeLimitMs: number;
  /** Rejects as soon as the leg has failed. */
  readonly race: <T>(promise: Promise<T>) => Promise<T>;
  readonly onFailed: (error: Error) => void;
  /** QEMU has stopped the VM. */
  readonly onStopped: () => void;
}

/** How the rounds ended. */
export interface RoundsEnd {
  readonly end: StreamEnd;
  /** QEMU's figures when it was last asked. */
  readonly info: MigrationInfo | null;
}

/** Runs rounds until the switchover decision, then sends the rest. */
export async function runLiveRounds(options: LiveRoundsOptions): Promise<RoundsEnd> {
  const { link, pump, progress, race } = options;
  let outgoing = await race(options.start());
  await race(pump.established);
  const disks = await race(options.openDisks());
  pump.holdRam(disks !== null);
  let info = await roundsUntilStopped(options, outgoing, disks);
  while (!link.isUp) {
    // QEMU found nothing more to send and has stopped the VM by itself, but nobody can take it over now.
    outgoing = await race(options.startAgain());
    info = await roundsUntilStopped(options, outgoing, disks);
  }
  options.onStopped();
  pump.drain();
  // Every export is gone before QEMU goes on: one that holds a persistent bitmap would kill it.
  await race(disks?.finish() ?? Promise.resolve());
  traceStep({ side: "source", step: "disks-read" });
  await race(outgoing.continueSwitchover());
  const end = await race(endOfStream(pump));
  traceStep({ side: "source", step: "stream-ended" });
  progress.finishing();
  return { end, info };
}

/** Rounds while the VM runs. Resolves with QEMU's last figures when it has stopped the VM. */
async function roundsUntilStopped(
  options: LiveRoundsOptions,
  outgoing: OutgoingMigration,
  disks: SourceDisks | null,
): Promise<MigrationInfo | null> {
  const { link, pump, progress, downtimeLimitMs, race } = options;
  let stopped = false;
  outgoing.preSwitchover.then(
    () => {
      stopped = true;
    },
    () => {},
  );
  let info: MigrationInfo | null = null;
  let gateOpen = false;
  let isSecondPass = false;
  while (!stopped) {
    pump.flush();
    info = await race(outgoing.query());
    const now = performance.now();
    const bytesPerSecond = pump.rate.bytesPerSecond(now);
    const dirtyDiskBytes = disks ? await race(disks.dirtyBytes()) : 0;
    const diskShare = disks ? progress.diskShare(disks.totals) : 0;
    if (disks) {
      const left = { dirtyBytes: dirtyDiskBytes * diskShare, unreadBytes: disks.unreadBytes * diskShare };
      driveDisks(disks, left, bytesPerSecond, options);
    }
    if (info.ram && pump.isEstablished) {
      const { remainingBytes, dirtySyncCount: pass } = info.ram;
      const decision = decideSwitchover({
        backlogBytes: pump.rate.unacknowledgedBytes,
        bytesPerSecond,
        rttMs: pump.rate.minRttMs,
        remainingBytes,
        encodedShare: progress.encodedShare(pump.encoder),
        disks: disks && {
          isBulkDone: disks.isBulkDone,
          encodedBytes: (dirtyDiskBytes + disks.unreadBytes) * diskShare,
        },
        pass,
        downtimeLimitMs,
        isLinkUp: link.isUp,
      });
      const remainingDiskBytes = disks ? dirtyDiskBytes + disks.unreadBytes : 0;
      progress.report(info.ram, pump.encoder, {
        wireBytes: link.wireBytes,
        bytesPerSecond,
        remainingDiskBytes,
        diskBulkShare: disks === null || disks.isBulkDone ? null : disks.bulkShare,
        ...decision,
      });
      if (pass > 1 && !isSecondPass) traceStep({ side: "source", step: "ram-round" });
      isSecondPass = pass > 1;
      if (decision.stopNow !== gateOpen && !stopped) {
        await race(outgoing.setDowntimeLimit(decision.stopNow ? openDowntimeLimitMs : 1));
        gateOpen = decision.stopNow;
      }
    }
    await race(Promise.race([outgoing.preSwitchover, sleep(pollMs)]));
  }
  return info;
}

/**
 * The first round, and further ones while what is marked is more than the stop should bear. QEMU stops an idle guest by
 * itself when its pass over the memory ends, whatever is left of the disks: RAM waits while that is too much.
 */
function driveDisks(
  disks: SourceDisks,
  left: { readonly dirtyBytes: number; readonly unreadBytes: number },
  bytesPerSecond: number | null,
  options: LiveRoundsOptions,
): void {
  const { pump, downtimeLimitMs, onFailed } = options;
  const transferMs = (bytes: number) => (bytes / Math.max(1, bytesPerSecond ?? 1e6)) * 1000;
  const fits = transferMs(left.dirtyBytes + left.unreadBytes) <= downtimeLimitMs / 2;
  pump.holdRam(!disks.isBulkDone || !fits);
  if (!disks.isIdle) return;
  const isMuch = left.dirtyBytes > smallRoundBytes || transferMs(left.dirtyBytes) > downtimeLimitMs / 4;
  if (disks.isBulkDone && !isMuch) return;
  if (disks.rounds === 0) traceStep({ side: "source", step: "disk-round" });
  disks.startRound((error) => onFailed(error as Error));
}

/** The end of the stream is recognised by its content: where that never comes, silence must end the wait. */
async function endOfStream(pump: SourcePump): Promise<StreamEnd> {
  for (let received = -1; received !== pump.receivedBytes; ) {
    received = pump.receivedBytes;
    const end = await Promise.race([pump.ended, sleep(streamQuietMs, null)]);
    if (end !== null) return end;
  }
  throw new OperationError(
    "failed",
    "Cannot find the end of QEMU's stream: it fell silent (is suppress-vmdesc set?)",
  );
}
