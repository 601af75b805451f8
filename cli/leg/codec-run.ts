/** One payload through one codec, with what it took: what `CodecChoice` chooses by, in whatever thread it is done. */

import type { Core } from "../../src/core.ts";
import type { PayloadCompressor } from "../../src/delta/frame.ts";

/** Levels of zstd from the fastest to the smallest; 0 stands for the core's LZ4. */
export const codecLevels = [0, 1, 3, 6, 9, 12] as const;
export type CodecLevel = (typeof codecLevels)[number];
/** Shorter payloads say little. */
const leastMeasuredBytes = 32 * 1024;

/** What a codec made of a payload. */
export interface CodecSample {
  readonly level: CodecLevel;
  /** Plain bytes a millisecond. */
  readonly speed: number;
  /** Compressed bytes for each plain one, at most 1. */
  readonly share: number;
}

/** What compresses the frames of a batch that is encoded elsewhere. */
export interface CodecPlan {
  readonly level: CodecLevel;
  /** The first frame's, where that is to show what zstd would make of it. */
  readonly firstLevel: CodecLevel;
  /** Tried on the first payload beside that, to be measured. */
  readonly tried: readonly CodecLevel[];
}

/** What a leg does as long as it knows nothing of its codecs: LZ4. */
export const plainPlan: CodecPlan = { level: 0, firstLevel: 0, tried: [] };

/**
 * Compresses at a level, after the levels that are only tried: null if LZ4 cannot make it smaller. `onSamples` is told what
 * each took, if the payload is long enough to say something. `clock` gives milliseconds.
 */
export function runCodecs(
  core: Core,
  levels: readonly [...tried: CodecLevel[], level: CodecLevel],
  plain: Uint8Array,
  clock: () => number,
  onSamples: (samples: readonly CodecSample[]) => void,
): Uint8Array | null {
  const samples: CodecSample[] = [];
  let packed: Uint8Array | null = null;
  for (const level of levels) {
    const start = clock();
    packed = level === 0 ? core.lz4Compress(plain) : (core.zstd?.compress(plain, level) ?? null);
    const speed = plain.length / Math.max(clock() - start, 0.01);
    const share = Math.min(1, (packed?.length ?? plain.length) / plain.length);
    samples.push({ level, speed, share });
  }
  if (isTelling(plain)) onSamples(samples);
  return packed;
}

/** True if what a payload takes is measured. */
export function isTelling(plain: Uint8Array): boolean {
  return plain.length >= leastMeasuredBytes;
}

/** What `PageEncoder` asks once a frame, for the frames of one batch after the other. */
export class PlannedCodec {
  /** What was measured since it was last taken, by payload. */
  samples: (readonly CodecSample[])[] = [];
  private readonly core: Core;
  private readonly clock: () => number;
  private plan = plainPlan;
  private isFirst = true;

  constructor(core: Core, clock: () => number) {
    this.core = core;
    this.clock = clock;
  }

  /** Begins the next batch. */
  follow(plan: CodecPlan): void {
    this.plan = plan;
    this.isFirst = true;
  }

  readonly choose = (): PayloadCompressor | null => {
    const level = this.isFirst ? this.plan.firstLevel : this.plan.level;
    const tried = this.isFirst ? this.plan.tried : [];
    this.isFirst = false;
    if (level === 0) return null;
    return (plain) => {
      const levels = [...(isTelling(plain) ? tried : []), level] as const;
      const tell = (samples: readonly CodecSample[]) => this.samples.push(samples);
      return runCodecs(this.core, levels, plain, this.clock, tell) as Uint8Array;
    };
  };
}
