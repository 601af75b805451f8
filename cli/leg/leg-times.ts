/** When a leg came how far, for the predictions of later ones. */

import { performance } from "node:perf_hooks";
import type { LegMeasured } from "./source-context.ts";
import type { SourcePump } from "./source-pump.ts";
import type { KeepState, SourceState } from "./state-machine.ts";

type Moment = SourceState | KeepState | "first-pass";

/** Counts from when it is made. */
export class LegTimes {
  private readonly startedAt = performance.now();
  private readonly reachedAt = new Map<Moment, number>();

  /** The leg has come to a state; the first time counts. */
  reached(moment: Moment): void {
    if (!this.reachedAt.has(moment)) this.reachedAt.set(moment, performance.now() - this.startedAt);
  }

  /** What is told of a leg that has come to its end. */
  measured({
    pump,
    deviceWireBytes,
  }: {
    readonly pump: SourcePump;
    readonly deviceWireBytes: number;
  }): LegMeasured {
    const negotiated = this.reachedAt.get("rounds") ?? 0;
    const stopped = this.reachedAt.get("stopped") ?? this.reachedAt.get("finishing") ?? negotiated;
    const firstPass = Math.min(stopped, this.reachedAt.get("first-pass") ?? stopped);
    const { bytesPerSecond, minRttMs, isLinkLimited } = pump.rate;
    const base = pump.usedBase;
    return {
      negotiatedMs: Math.round(negotiated),
      firstPassMs: Math.round(firstPass - negotiated),
      roundsMs: Math.round(stopped - firstPass),
      bytesPerSecond: isLinkLimited && bytesPerSecond !== null ? Math.round(bytesPerSecond) : null,
      rttMs: Number.isFinite(minRttMs) ? Math.round(minRttMs * 10) / 10 : null,
      start: pump.rate.start,
      pageWireBytes: pump.encoder.frameBytes,
      deviceWireBytes,
      commonSince: base.mode === "content" ? Date.parse(base.generation.manifest.createdAt) : null,
    };
  }
}
