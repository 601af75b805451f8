/** What a running leg says of itself. */

import { performance } from "node:perf_hooks";
import type { ChangeEncoder } from "../../src/delta/change-encoder.ts";
import type { MigrationRam } from "../qemu/migration-info.ts";

/** One line of progress. Bytes and bytes a second are of the WAN unless named otherwise. */
export interface ProgressEvent {
  readonly event: "progress";
  readonly vm: string;
  readonly phase: "disks" | "first-pass" | "rounds" | "switchover";
  /** Share of the disks (by place), of the first pass, or of the changes of the current round, 0 to 1. */
  readonly done: number;
  readonly round: number;
  readonly elapsedMs: number;
  readonly wireBytes: number;
  readonly bytesPerSecond: number;
  /** Guest memory that QEMU has still to send in this pass. */
  readonly remainingRamBytes: number;
  /** Blocks of disks that are marked and not read so far; what a first round finds is known only when it is over. */
  readonly remainingDiskBytes: number;
  readonly expectedDowntimeMs: number;
  /** How much QEMU slows the guest down, in percent: with `--on-divergence throttle`, and 1 until it is needed. */
  readonly throttlePercent: number;
  /** Time to the end of this pass at the pace so far; null before there is one. */
  readonly etaMs: number | null;
}

const reportEveryMs = 200;
/** What is not known is told as a long time: JSON has no infinity. */
const longestMs = 3_600_000;
/** Changed memory that shows how well recent changes encode. */
const tellingBytes = 256 * 1024;
/** Share of encoded bytes to assume before anything was seen: nothing is saved. */
const cautiousShare = 1;

/** Makes progress events from QEMU's figures and the encoder's. */
export class LegProgress {
  private readonly vm: string;
  private readonly memoryBytes: number;
  private readonly emit: (event: ProgressEvent) => void;
  private readonly startedAt = performance.now();
  private lastReport = Number.NEGATIVE_INFINITY;
  private last: ProgressEvent | null = null;
  private roundStart = { pass: 0, changedBytes: 0, frameBytes: 0, remaining: 0 };
  private share = cautiousShare;
  private shareStart = { changed: 0, frames: 0 };
  private isFirstShare = true;

  constructor(vm: string, memoryBytes: number, emit: (event: ProgressEvent) => void) {
    this.vm = vm;
    this.memoryBytes = memoryBytes;
    this.emit = emit;
  }

  /**
   * Encoded bytes for a byte of guest memory that QEMU sends in rounds after the first: nearly all of these pages did
   * change. Taken from the changed pages of the recent rounds, or of all while those are too few: what is written again
   * and again may encode otherwise than the rest of the memory.
   */
  encodedShare({ changedBytes, frameBytes }: ChangeEncoder): number {
    const recent = {
      changed: changedBytes - this.shareStart.changed,
      frames: frameBytes - this.shareStart.frames,
    };
    if (recent.changed >= tellingBytes) this.share = recent.frames / recent.changed;
    else if (changedBytes > 0 && this.isFirstShare) this.share = frameBytes / changedBytes;
    if (recent.changed >= 2 * tellingBytes) {
      this.shareStart = { changed: changedBytes, frames: frameBytes };
      this.isFirstShare = false;
    }
    return this.share;
  }

  /** The same for disks: encoded bytes for a byte of marked blocks. */
  diskShare({
    changedBytes,
    frameBytes,
  }: {
    readonly changedBytes: number;
    readonly frameBytes: number;
  }): number {
    return changedBytes === 0 ? cautiousShare : Math.min(cautiousShare, frameBytes / changedBytes);
  }

  /** Emits an event unless the last one is very recent. */
  report(
    ram: MigrationRam,
    encoder: ChangeEncoder,
    link: {
      readonly wireBytes: number;
      readonly bytesPerSecond: number | null;
      readonly expectedDowntimeMs: number;
      readonly throttlePercent: number;
      readonly remainingDiskBytes: number;
      /** How far the first round of the disks is, 0 to 1; null if it is over or there are none. */
      readonly diskBulkShare: number | null;
    },
  ): void {
    const now = performance.now();
    const pass = Math.max(1, ram.dirtySyncCount);
    if (pass !== this.roundStart.pass) {
      const { changedBytes, frameBytes } = encoder;
      this.roundStart = { pass, changedBytes, frameBytes, remaining: ram.remainingBytes };
    }
    if (now - this.lastReport < reportEveryMs) return;
    this.lastReport = now;
    const whole = pass === 1 ? this.memoryBytes : this.roundStart.remaining;
    const ofRam = whole === 0 ? 1 : Math.min(1, Math.max(0, 1 - ram.remainingBytes / whole));
    const done = link.diskBulkShare ?? ofRam;
    const elapsedMs = now - this.startedAt;
    this.last = {
      event: "progress",
      vm: this.vm,
      phase: link.diskBulkShare !== null ? "disks" : pass === 1 ? "first-pass" : "rounds",
      done,
      round: pass,
      elapsedMs: Math.round(elapsedMs),
      wireBytes: link.wireBytes,
      bytesPerSecond: Math.round(link.bytesPerSecond ?? 0),
      remainingRamBytes: ram.remainingBytes,
      remainingDiskBytes: link.remainingDiskBytes,
      expectedDowntimeMs: Math.round(Math.min(link.expectedDowntimeMs, longestMs)),
      throttlePercent: link.throttlePercent,
      etaMs:
        (pass === 1 || link.diskBulkShare !== null) && done > 0.01
          ? Math.round((elapsedMs / done) * (1 - done))
          : null,
    };
    this.emit(this.last);
  }

  /** Emits an event, unless the last one is very recent, while what was read before the leg is sent. */
  replaying(
    done: number,
    link: { readonly wireBytes: number; readonly bytesPerSecond: number | null },
  ): void {
    const now = performance.now();
    if (now - this.lastReport < reportEveryMs) return;
    this.lastReport = now;
    const elapsedMs = now - this.startedAt;
    this.last = {
      event: "progress",
      vm: this.vm,
      phase: "first-pass",
      done: Math.min(1, done),
      round: 1,
      elapsedMs: Math.round(elapsedMs),
      wireBytes: link.wireBytes,
      bytesPerSecond: Math.round(link.bytesPerSecond ?? 0),
      remainingRamBytes: 0,
      remainingDiskBytes: 0,
      expectedDowntimeMs: 0,
      throttlePercent: 0,
      etaMs: done > 0.01 ? Math.round((elapsedMs / done) * Math.max(0, 1 - done)) : null,
    };
    this.emit(this.last);
  }

  /** The VM is stopped and everything is sent. */
  finishing(): void {
    if (this.last)
      this.emit({ ...this.last, phase: "switchover", done: 1, remainingRamBytes: 0, etaMs: null });
  }
}
