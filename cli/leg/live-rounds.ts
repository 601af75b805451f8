/** The rounds of a leg at the source, until everything is sent: RAM and disks over one link, with one decision to stop. */

import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { PeerConnection } from "../wan/connection.ts";
import type { LegProgress } from "./progress.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourcePump, StreamEnd } from "./source-pump.ts";
import { decideSwitchover, type SwitchoverDecision } from "./switchover.ts";

/** Silence of QEMU, after it has stopped the VM, that means that its stream will not end. */
const streamQuietMs = 10_000;
const pollMs = 50;
/** What QEMU is told when it may stop at once; its own guess does not matter then. */
const openDowntimeLimitMs = 60_000;
/** What is marked below this, in bytes on the WAN, waits for the stop if it fits in it. */
const smallRoundBytes = 1 << 20;

/** What the rounds work with. */
export interface LiveRoundsOptions {
  readonly connection: PeerConnection;
  readonly pump: SourcePump;
  readonly outgoing: OutgoingMigration;
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
  const { connection, pump, outgoing, progress, downtimeLimitMs, race } = options;
  let stopped = false;
  outgoing.preSwitchover.then(
    () => {
      stopped = true;
    },
    () => {},
  );
  await race(pump.established);
  const disks = await race(options.openDisks());
  pump.holdRam(disks !== null);
  let info: MigrationInfo | null = null;
  let gateOpen = false;
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
      const decision = decideSwitchover({
        backlogBytes: pump.rate.unacknowledgedBytes,
        bytesPerSecond,
        rttMs: pump.rate.minRttMs,
        remainingBytes: info.ram.remainingBytes,
        encodedShare: progress.encodedShare(pump.encoder),
        disks: disks && {
          isBulkDone: disks.isBulkDone,
          encodedBytes: (dirtyDiskBytes + disks.unreadBytes) * diskShare,
        },
        pass: info.ram.dirtySyncCount,
        downtimeLimitMs,
      });
      const remainingDiskBytes = disks ? dirtyDiskBytes + disks.unreadBytes : 0;
      progress.report(info.ram, pump.encoder, {
        wireBytes: connection.wireBytes,
        bytesPerSecond,
        remainingDiskBytes,
        diskBulkShare: disks === null || disks.isBulkDone ? null : disks.bulkShare,
        ...decision,
      });
      gateOpen = await setGate(options, gateOpen, decision, () => stopped);
    }
    await race(Promise.race([outgoing.preSwitchover, sleep(pollMs)]));
  }
  options.onStopped();
  pump.drain();
  // Every export is gone before QEMU goes on: one that holds a persistent bitmap would kill it.
  await race(disks?.finish() ?? Promise.resolve());
  await race(outgoing.continueSwitchover());
  const end = await race(endOfStream(pump));
  progress.finishing();
  return { end, info };
}

async function setGate(
  options: LiveRoundsOptions,
  isOpen: boolean,
  decision: SwitchoverDecision,
  isStopped: () => boolean,
): Promise<boolean> {
  if (decision.stopNow === isOpen || isStopped()) return isOpen;
  await options.race(options.outgoing.setDowntimeLimit(decision.stopNow ? openDowntimeLimitMs : 1));
  return decision.stopNow;
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
  if (!disks.isBulkDone || isMuch) disks.startRound((error) => onFailed(error as Error));
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
