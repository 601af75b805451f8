/** The rounds of a leg at the source, until everything is sent: RAM and disks over one link, with one decision to stop. */

import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import type { MigrationInfo } from "../qemu/migration-info.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { LegPurpose } from "../wan/messages.ts";
import { DirtyCurve } from "./dirty-curve.ts";
import type { DivergenceEvent, DivergencePolicy } from "./divergence.ts";
import { DivergenceResponse } from "./divergence-response.ts";
import { traceStep } from "./leg-steps.ts";
import type { LegProgress } from "./progress.ts";
import type { StreamEnd } from "./pump-options.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourceLink } from "./source-link.ts";
import type { SourcePump } from "./source-pump.ts";
import { fullBytesPerSecond } from "./source-qemu.ts";
import { StopGate } from "./stop-gate.ts";
import { dataBudgetMs, decidePause, decideSwitchover } from "./switchover.ts";

/** Silence of QEMU, after it has stopped the VM, that means that its stream will not end. */
const streamQuietMs = 10_000;
const pollMs = 50;
/** While the queue is drained each moment counts. */
const drainPollMs = 15;
/** From the word that QEMU may stop until it does: it looks each 100 ms. */
const stopLatencyMs = 100;
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
  readonly vm: string;
  readonly downtimeLimitMs: number;
  /** The leg's own limit of its rate, in bits a second; null: none. */
  readonly bitsPerSecond: number | null;
  readonly onDivergence: DivergencePolicy;
  /** Called once when the guest changes faster than the link carries. */
  readonly diverged: (event: DivergenceEvent) => void;
  /** Rejects as soon as the leg has failed. */
  readonly race: <T>(promise: Promise<T>) => Promise<T>;
  readonly onFailed: (error: Error) => void;
  /** QEMU's first pass over the memory is over. */
  readonly onFirstPass: () => void;
  /** A handover has the link to itself after the stop; a checkpoint lets the VM run on meanwhile. */
  readonly purpose: LegPurpose;
  /** QEMU has stopped the VM: reads and sends the rest. */
  readonly rest: (outgoing: OutgoingMigration, disks: SourceDisks | null) => Promise<StreamEnd>;
}

/** How the rounds ended. */
export interface RoundsEnd {
  readonly end: StreamEnd;
  /** QEMU's figures when it was last asked. */
  readonly info: MigrationInfo | null;
}

/** Runs rounds until the decision to stop the VM, then the rest. */
export async function runLiveRounds(options: LiveRoundsOptions): Promise<RoundsEnd> {
  const { link, pump, race, progress } = options;
  let outgoing = await race(options.start());
  await race(pump.established);
  const disks = await race(options.openDisks());
  pump.holdRam(disks !== null);
  const divergence = new DivergenceResponse({ ...options, rate: pump.rate });
  let info = await roundsUntilStopped(options, outgoing, disks, divergence);
  while (!link.isUp && options.purpose === "handover") {
    // QEMU found nothing more to send and has stopped the VM by itself, but nobody can take it over now.
    outgoing = await race(options.startAgain());
    info = await roundsUntilStopped(options, outgoing, disks, divergence);
  }
  const end = await options.rest(outgoing, disks);
  progress.finishing();
  return { end, info };
}

/** Rounds while the VM runs. Resolves with QEMU's last figures when it has stopped the VM. */
async function roundsUntilStopped(
  options: LiveRoundsOptions,
  outgoing: OutgoingMigration,
  disks: SourceDisks | null,
  divergence: DivergenceResponse,
): Promise<MigrationInfo | null> {
  const { link, pump, progress, race } = options;
  let stopped = false;
  outgoing.preSwitchover.then(
    () => {
      stopped = true;
    },
    () => {},
  );
  const gate = new StopGate(outgoing, pump, fullBytesPerSecond);
  const dirty = new DirtyCurve();
  let info: MigrationInfo | null = null;
  let isSecondPass = false;
  /** Draining that did not help is tried again when QEMU has looked at its bitmap since. */
  let drainAfterPass = 1;
  while (!stopped) {
    pump.flush();
    info = await race(outgoing.query());
    const now = performance.now();
    const bytesPerSecond = pump.rate.bytesPerSecond;
    const dirtyDiskBytes = disks ? await race(disks.dirtyBytes()) : 0;
    const diskShare = disks ? progress.diskShare(disks.totals) : 0;
    if (disks) {
      const left = { dirtyBytes: dirtyDiskBytes * diskShare, unreadBytes: disks.unreadBytes * diskShare };
      if (driveDisks(disks, left, bytesPerSecond, options)) divergence.diskRound(left.dirtyBytes, now);
    }
    if (info.ram && pump.isEstablished) {
      const { remainingBytes, dirtySyncCount: pass, sentBytes } = info.ram;
      const encodedShare = progress.encodedShare(pump.encoder);
      const hasNewPass = dirty.observe({ pass, remainingBytes, sentBytes }, now);
      if (!link.isUp) {
        dirty.forget(now);
        divergence.forget();
      } else if (hasNewPass) divergence.ramPass(dirty, encodedShare);
      const backlogBytes = pump.rate.unacknowledgedBytes + pump.encodingBytes * encodedShare;
      const queueMs = (backlogBytes / Math.max(1, bytesPerSecond ?? 1)) * 1000;
      const isHandover = options.purpose === "handover";
      const decide = isHandover ? decideSwitchover : decidePause;
      const decision = decide({
        backlogBytes,
        bytesPerSecond,
        isLinkLimited: pump.rate.isLinkLimited,
        rttMs: pump.rate.minRttMs,
        unsentBytes: dirty.unsent(now, stopLatencyMs),
        unsentDrainedBytes: dirty.unsent(now, stopLatencyMs + (gate.isDraining ? 0 : queueMs)),
        encodedShare,
        disks: disks && {
          isBulkDone: disks.isBulkDone,
          encodedBytes: (dirtyDiskBytes + disks.unreadBytes) * diskShare,
        },
        pass,
        // The way to the peer is no part of a checkpoint's pause.
        budgetMs: isHandover
          ? divergence.budgetMs
          : Math.max(divergence.budgetMs, dataBudgetMs(options.downtimeLimitMs, 0)),
        isLinkUp: link.isUp,
      });
      const remainingDiskBytes = disks ? dirtyDiskBytes + disks.unreadBytes : 0;
      progress.report(info.ram, pump.encoder, {
        wireBytes: link.wireBytes,
        bytesPerSecond,
        remainingDiskBytes,
        throttlePercent: info.throttlePercent,
        diskBulkShare: disks === null || disks.isBulkDone ? null : disks.bulkShare,
        ...decision,
      });
      if (pass > 1 && !isSecondPass) {
        traceStep({ side: "source", step: "ram-round" });
        options.onFirstPass();
      }
      isSecondPass = pass > 1;
      if (!stopped) {
        await race(gate.setOpen(decision.stopNow));
        if (gate.isDraining && !decision.stopNow && (!decision.drainFirst || gate.isLate(now))) {
          drainAfterPass = pass;
          await race(gate.endDrain());
        } else if (!gate.isDraining && decision.drainFirst && pass > drainAfterPass) {
          await race(gate.drain(queueMs, bytesPerSecond ?? 0, now));
        }
      }
      await race(divergence.judge(outgoing));
    }
    await race(Promise.race([outgoing.preSwitchover, sleep(gate.isDraining ? drainPollMs : pollMs)]));
  }
  return info;
}

/**
 * The first round, and further ones while what is marked is more than the stop should bear. QEMU stops an idle guest by
 * itself when its pass over the memory ends, whatever is left of the disks: RAM waits while that is too much. True if a
 * round after the first has begun.
 */
function driveDisks(
  disks: SourceDisks,
  left: { readonly dirtyBytes: number; readonly unreadBytes: number },
  bytesPerSecond: number | null,
  options: LiveRoundsOptions,
): boolean {
  const { pump, downtimeLimitMs, onFailed } = options;
  const transferMs = (bytes: number) => (bytes / Math.max(1, bytesPerSecond ?? 1e6)) * 1000;
  const fits = transferMs(left.dirtyBytes + left.unreadBytes) <= downtimeLimitMs / 2;
  // What a checkpoint finds changed after its first round is read from the frozen images.
  if (options.purpose === "checkpoint" && disks.rounds > 0) {
    pump.holdRam(!disks.isBulkDone);
    return false;
  }
  pump.holdRam(!disks.isBulkDone || !fits);
  if (!disks.isIdle) return false;
  const isMuch = left.dirtyBytes > smallRoundBytes || transferMs(left.dirtyBytes) > downtimeLimitMs / 4;
  if (disks.isBulkDone && !isMuch) return false;
  if (disks.rounds === 0) traceStep({ side: "source", step: "disk-round" });
  const isFurther = disks.isBulkDone;
  disks.startRound((error) => onFailed(error as Error));
  return isFurther;
}

/** The end of the stream is recognised by its content: where that never comes, silence must end the wait. */
export async function endOfStream<T>(pump: SourcePump, ended: Promise<T>): Promise<T> {
  for (let received = -1; received !== pump.receivedBytes || pump.encodingBytes > 0; ) {
    received = pump.receivedBytes;
    const end = await Promise.race([ended, sleep(streamQuietMs, null)]);
    if (end !== null) return end;
  }
  throw new OperationError(
    "failed",
    "Cannot find the end of QEMU's stream: it fell silent (is suppress-vmdesc set?)",
  );
}
