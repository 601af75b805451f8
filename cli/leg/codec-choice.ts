/**
 * Chooses what compresses a leg's frames, from the link and the CPU as they are measured: that with the highest rate of
 * plain bytes,
 *
 *     min(what the link delivers / compressed share, threads / (time of compression + time of all else they do))
 *
 * so LZ4 on fast links, and zstd on slow ones, at a level that grows as the link gets slower. What another codec would
 * make of a payload is tried now and then on the payload itself (`codec-figures.ts`).
 */

import { performance } from "node:perf_hooks";
import type { Core } from "../../src/core.ts";
import type { PayloadCompressor } from "../../src/delta/frame.ts";
import { CodecFigures } from "./codec-figures.ts";
import {
  type CodecLevel,
  type CodecPlan,
  type CodecSample,
  codecLevels,
  isTelling,
  plainPlan,
  runCodecs,
} from "./codec-run.ts";

/** Until the link is known bytes count more than the CPU. */
const firstLevel: CodecLevel = 3;
/** Levels above this pay only while the link is busy. */
const idleLevel: CodecLevel = 3;
/**
 * Milliseconds a plain byte for what else a leg's thread does: it reads, compares, stores and sends. More than twice what
 * `npm run bench:pipeline` shows with nothing else to do, since a codec that is too slow costs more than one that is too fast.
 */
const besideMs = 1 / 250e3;
/** The same of a thread that only encodes, digests and writes. */
const poolBesideMs = 1 / 500e3;
/** A core is never had whole: QEMU and the guest have the same ones. */
const coreShare = 0.85;
/** A link that is not busy may carry so many times of what it was seen to: what was seen is what there was to send. */
const idleHeadroom = 2;
/** Another codec must promise this much more. */
const hysteresis = 1.03;
/** Time that a payload of 256 KiB may take: QEMU and the peer wait meanwhile. */
const longestMs = 10;
const payloadBytes = 256 * 1024;
/** Payloads between two trials; the first few are all used. */
const trialEvery = 16;
/** Frames between two trials of zstd while it promises less than this share of what LZ4 does. */
const farTrialEvery = 64;
const farShare = 0.6;
/** Frames after a change to LZ4 that all are trials: while it is used little is measured, and a wrong change would last. */
const confirmedAfter = 8;
const firstTrials = 4;

/** The link, as it is now. */
export interface LinkView {
  /** What it delivers; null before that is known. */
  bytesPerSecond(): number | null;
  /** True while enough waits for it that its rate is its own, not ours. */
  isBusy(): boolean;
  /** Threads that encode beside this one; 0, or without it: this one does. */
  threads?(): number;
}

/** Follows one leg. */
export class CodecChoice {
  private readonly core: Core;
  private readonly link: LinkView;
  private readonly clock: () => number;
  private readonly figures = new CodecFigures();
  /** Milliseconds that codecs took which were only tried, in this thread. */
  triedMs = 0;
  private level: CodecLevel;
  private frames = 0;
  /** The frame from which the level is what it is. */
  private levelSince = Number.NEGATIVE_INFINITY;
  private payloads = 0;

  /** Without a zstd in the core all frames are for LZ4. `clock` gives milliseconds. */
  constructor(core: Core, link: LinkView, clock: () => number = () => performance.now()) {
    this.core = core;
    this.link = link;
    this.clock = clock;
    this.level = core.zstd === null ? 0 : firstLevel;
  }

  /** The choice now: 0 for LZ4, else the level of zstd. */
  get current(): number {
    return this.level;
  }

  /** What compresses the next frame; null: the core's LZ4. */
  readonly choose = (): PayloadCompressor | null => {
    if (this.core.zstd === null) return null;
    this.nextFrame();
    if (this.level !== 0) return this.compressorOf(this.level);
    // LZ4 works page by page: only a frame for zstd has a payload to compare on.
    return this.isZstdTrial ? this.compressorOf(1) : null;
  };

  /** The same for a batch that another thread encodes: `learn` is to be told what that measured. */
  plan(): CodecPlan {
    if (this.core.zstd === null) return plainPlan;
    this.nextFrame();
    const { level } = this;
    const first = level === 0 && this.isZstdTrial ? 1 : level;
    return { level, firstLevel: first, tried: first !== 0 && this.isTrial() ? this.worthTrying(first) : [] };
  }

  /** Takes what codecs made of one payload. */
  readonly learn = (samples: readonly CodecSample[]): void => this.figures.learn(samples);

  private compressorOf(level: CodecLevel): PayloadCompressor {
    return (plain) => {
      const tried = isTelling(plain) && this.isTrial() ? this.worthTrying(level) : [];
      const tell = (samples: readonly CodecSample[]) => {
        for (const { speed } of samples.slice(0, -1)) this.triedMs += plain.length / speed;
        this.learn(samples);
      };
      return runCodecs(this.core, [...tried, level], plain, this.clock, tell) as Uint8Array;
    };
  }

  private nextFrame(): void {
    this.frames++;
    const best = this.best();
    if (best !== this.level) this.levelSince = this.frames;
    this.level = best;
  }

  /** True if the next payload goes through other codecs too; each that does while LZ4 is used, as that is not measured elsewhere. */
  private isTrial(): boolean {
    const before = this.payloads++;
    return this.level === 0 || before < firstTrials || before % trialEvery === 0;
  }

  /** LZ4, and a neighbour: a smaller one if the link is what limits, else a faster one. */
  private worthTrying(level: CodecLevel): CodecLevel[] {
    const at = codecLevels.indexOf(level);
    const now = this.figures.of(level);
    const rate = this.rate;
    const isLinkSlow = !now || rate === null || rate / now.share < this.capacity(now.speed);
    const neighbour = codecLevels[isLinkSlow ? at + 1 : at - 1];
    const tried: CodecLevel[] = [0];
    if (neighbour && (!isLinkSlow || (this.link.isBusy() && this.isShort(level, 2)))) tried.push(neighbour);
    return tried;
  }

  /** Plain bytes a second that the threads can do with a codec of so many a millisecond. */
  private capacity(speed: number): number {
    const threads = this.link.threads?.() ?? 0;
    const besides = threads === 0 ? besideMs : poolBesideMs;
    return (coreShare * Math.max(1, threads) * 1000) / (1 / speed + besides);
  }

  /** What the link carries as far as one knows, in bytes a second; null before that is known. */
  private get rate(): number | null {
    const seen = this.link.bytesPerSecond();
    return seen === null || this.link.isBusy() ? seen : idleHeadroom * seen;
  }

  private best(): CodecLevel {
    const { rate } = this;
    if (rate === null || !this.figures.areKnown) return this.level;
    const most = this.link.isBusy() ? codecLevels[codecLevels.length - 1] : idleLevel;
    const promise = (level: CodecLevel) => (level > most ? 0 : this.promise(level, rate));
    const best = codecLevels.reduce((best, level) => (promise(level) > promise(best) ? level : best));
    return promise(best) > hysteresis * promise(this.level) ? best : this.level;
  }

  /** Plain bytes a second; 0 if the level is not known, or takes too long. */
  private promise(level: CodecLevel, rate: number): number {
    const found = this.figures.of(level);
    if (!found || (level !== 0 && !this.isShort(level, 1))) return 0;
    return Math.min(rate / found.share, this.capacity(found.speed));
  }

  /** While LZ4 is used: what zstd would make of this frame is to be seen, less often the less it promises. */
  private get isZstdTrial(): boolean {
    if (this.frames - this.levelSince < confirmedAfter) return true;
    const rate = this.rate ?? 0;
    const isFar = this.figures.of(1) !== null && this.promise(1, rate) < farShare * this.promise(0, rate);
    return this.frames % (isFar ? farTrialEvery : trialEvery) === 0;
  }

  /** True if a payload of full size takes at most one `part` of the longest time at this level. */
  private isShort(level: CodecLevel, part: number): boolean {
    const found = this.figures.of(level);
    return found !== null && payloadBytes / found.speed <= longestMs / part;
  }
}
