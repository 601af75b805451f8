/**
 * What codecs make of a leg's payloads: each beside LZ4 on the same payload, since payloads differ more than codecs do.
 * Where a payload went through one codec alone, it says what payloads are like now, and so what the others would make of it.
 */

import type { CodecLevel, CodecSample } from "./codec-run.ts";

/** Share of a new measurement in the average. */
const freshness = 0.25;

/** What a codec is taken to do with the payloads as they are now. */
export type CodecFigure = Omit<CodecSample, "level">;

/** Sums in which older payloads count less and less. */
interface BesideLz4 {
  readonly ms: number;
  readonly lz4Ms: number;
  readonly bytes: number;
  readonly lz4Bytes: number;
}

/** Follows one leg. */
export class CodecFigures {
  /** LZ4 on the payloads as they are now, for each plain byte. */
  private lz4: { readonly ms: number; readonly bytes: number } | null = null;
  private readonly beside = new Map<CodecLevel, BesideLz4>();

  /** False before anything was measured. */
  get areKnown(): boolean {
    return this.lz4 !== null;
  }

  /** Takes what codecs made of one payload. */
  learn(samples: readonly CodecSample[]): void {
    const lz4 = samples.find(({ level }) => level === 0);
    for (const { level, speed, share } of samples) {
      if (level === 0) this.lz4 = mixed(this.lz4, { ms: 1 / speed, bytes: share });
      else if (lz4) this.compare(level, { speed, share }, lz4);
      else {
        const ratio = this.ratioOf(level);
        if (ratio) this.lz4 = mixed(this.lz4, { ms: 1 / speed / ratio.ms, bytes: share / ratio.bytes });
      }
    }
  }

  /** What is expected of a level; null before it was measured beside LZ4. */
  of(level: CodecLevel): CodecFigure | null {
    const ratio = this.ratioOf(level);
    if (this.lz4 === null || ratio === null) return null;
    return { speed: 1 / (this.lz4.ms * ratio.ms), share: Math.min(1, this.lz4.bytes * ratio.bytes) };
  }

  private compare(level: CodecLevel, own: CodecFigure, lz4: CodecFigure): void {
    const now = { ms: 1 / own.speed, lz4Ms: 1 / lz4.speed, bytes: own.share, lz4Bytes: lz4.share };
    const before = this.beside.get(level);
    const sum = (key: keyof BesideLz4) => now[key] + (1 - freshness) * (before?.[key] ?? 0);
    this.beside.set(level, {
      ms: sum("ms"),
      lz4Ms: sum("lz4Ms"),
      bytes: sum("bytes"),
      lz4Bytes: sum("lz4Bytes"),
    });
  }

  private ratioOf(level: CodecLevel): { readonly ms: number; readonly bytes: number } | null {
    if (level === 0) return { ms: 1, bytes: 1 };
    const sums = this.beside.get(level);
    return sums ? { ms: sums.ms / sums.lz4Ms, bytes: sums.bytes / sums.lz4Bytes } : null;
  }
}

function mixed(
  before: { readonly ms: number; readonly bytes: number } | null,
  now: { readonly ms: number; readonly bytes: number },
): { readonly ms: number; readonly bytes: number } {
  const mix = (old: number, value: number) => old + freshness * (value - old);
  return before === null ? now : { ms: mix(before.ms, now.ms), bytes: mix(before.bytes, now.bytes) };
}
