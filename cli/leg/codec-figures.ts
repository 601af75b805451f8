/**
 * What codecs make of a leg's payloads: each beside LZ4 on the same payload, since payloads differ more than codecs do.
 * Where a payload went through one codec alone, it says what payloads are like now, and so what the others would make of
 * it. Times are values in the middle: a thread that had to wait for its core says nothing of a codec.
 */

import { middle } from "../middle.ts";
import type { CodecLevel, CodecSample } from "./codec-run.ts";

/** Share of a new measurement in the average of sizes. */
const freshness = 0.25;
/** Payloads whose times are remembered. */
const rememberedTimes = 9;

/** What a codec is taken to do with the payloads as they are now. */
export type CodecFigure = Omit<CodecSample, "level">;

/** A level beside LZ4, on the same payloads. */
interface Beside {
  /** Of each of the newest payloads: time for each of LZ4's. */
  readonly times: number[];
  /** Sums in which older payloads count less and less. */
  bytes: number;
  lz4Bytes: number;
}

/** Follows one leg. */
export class CodecFigures {
  /** LZ4 on the payloads as they are now, for each plain byte: milliseconds of the newest ones, and the average share. */
  private readonly lz4Times: number[] = [];
  private lz4Share: number | null = null;
  private readonly beside = new Map<CodecLevel, Beside>();

  /** False before anything was measured. */
  get areKnown(): boolean {
    return this.lz4Share !== null;
  }

  /** Takes what codecs made of one payload. */
  learn(samples: readonly CodecSample[]): void {
    const lz4 = samples.find(({ level }) => level === 0);
    for (const { level, speed, share } of samples) {
      if (level === 0) this.isNow(1 / speed, share);
      else if (lz4) this.compare(level, { speed, share }, lz4);
      else {
        const ratio = this.ratioOf(level);
        if (ratio) this.isNow(1 / speed / ratio.time, share / ratio.share);
      }
    }
  }

  /** What is expected of a level; null before it was measured beside LZ4. */
  of(level: CodecLevel): CodecFigure | null {
    const ratio = this.ratioOf(level);
    const time = middle(this.lz4Times);
    if (time === null || this.lz4Share === null || ratio === null) return null;
    return { speed: 1 / (time * ratio.time), share: Math.min(1, this.lz4Share * ratio.share) };
  }

  private isNow(time: number, share: number): void {
    remember(this.lz4Times, time);
    this.lz4Share = this.lz4Share === null ? share : this.lz4Share + freshness * (share - this.lz4Share);
  }

  private compare(level: CodecLevel, own: CodecFigure, lz4: CodecFigure): void {
    const found = this.beside.get(level) ?? { times: [], bytes: 0, lz4Bytes: 0 };
    remember(found.times, lz4.speed / own.speed);
    found.bytes = (1 - freshness) * found.bytes + own.share;
    found.lz4Bytes = (1 - freshness) * found.lz4Bytes + lz4.share;
    this.beside.set(level, found);
  }

  private ratioOf(level: CodecLevel): { readonly time: number; readonly share: number } | null {
    if (level === 0) return { time: 1, share: 1 };
    const found = this.beside.get(level);
    const time = middle(found?.times ?? []);
    return found && time !== null ? { time, share: found.bytes / found.lz4Bytes } : null;
  }
}

function remember(times: number[], time: number): void {
  times.push(time);
  if (times.length > rememberedTimes) times.shift();
}
