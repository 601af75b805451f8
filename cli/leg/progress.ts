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
  /** Time to the end of this pass at the pace so far; null before there is one. */
  readonly etaMs: number | null;
}

const reportEveryMs = 200;
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
  private previousShare: number | null = null;

  constructor(vm: string, memoryBytes: number, emit: (event: ProgressEvent) => void) {
    this.vm = vm;
    this.memoryBytes = memoryBytes;
    this.emit = emit;
  }

  /**
   * Encoded bytes for a byte of guest memory that QEMU sends in rounds after the first: nearly all of these
   * pages did change. Taken from the changed pages so far, since the first pass also has unchanged ones.
   */
  encodedShare(encoder: ChangeEncoder): number {
    if (encoder.changedBytes === 0) return this.previousShare ?? cautiousShare;
    this.previousShare = encoder.frameBytes / encoder.changedBytes;
    return this.previousShare;
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
      expectedDowntimeMs: Math.round(link.expectedDowntimeMs),
      etaMs:
        (pass === 1 || link.diskBulkShare !== null) && done > 0.01
          ? Math.round((elapsedMs / done) * (1 - done))
          : null,
    };
    this.emit(this.last);
  }

  /** The VM is stopped and everything is sent. */
  finishing(): void {
    if (this.last)
      this.emit({ ...this.last, phase: "switchover", done: 1, remainingRamBytes: 0, etaMs: null });
  }
}
