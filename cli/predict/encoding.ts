/**
 * How long the pages of a leg are encoded, from how fast a sample of them was: by one thread, and on a first leg by others
 * too as soon as one has encoded so much and is what limits the leg.
 */

import { availableParallelism } from "node:os";
import { threadsAfterBytes } from "../leg/encode-route.ts";
import { middle } from "../middle.ts";
import type { LegRecord } from "../store/leg-history.ts";

/** A sample's encoding where none was tried, in bytes a second. */
export const usualEncoding = 80e6;

/** How much longer a leg encodes its pages than a sample of them takes by itself. */
export interface EncodingFactors {
  /** How fast samples are encoded, in bytes a second: the one in the middle. */
  readonly usual: number;
  /** By one thread, which reads, stores and sends meanwhile. */
  readonly alone: number;
  /** With others. */
  readonly together: number;
}

/** What a leg encodes. Bytes, and bytes a second of a sample of it. */
export interface EncodedLoad {
  readonly kind: "first" | "return";
  readonly changedBytes: number;
  /** Of the frames that come of it. */
  readonly frameBytes: number;
  readonly sampleBytesPerSecond: number | null;
}

/** What is taken for granted as long as no leg has told; it counts like one leg afterwards. */
const usualAlone = 1.2;
const usualTogether = availableParallelism() > 1 ? 0.9 : usualAlone;
/** What a host encrypts, masks, sends and keeps of frames, in bytes a second: no sample tries that. */
const framesBytesPerSecond = 100e6;
/** With less than this share of its bytes encoded by several threads a leg says nothing of them. */
const tellingShare = 0.5;

/** Seconds. */
export function encodingSeconds(load: EncodedLoad, factors: EncodingFactors): number {
  const { alone, together, frames } = sampleSeconds(load, factors.usual);
  return alone * factors.alone + together * factors.together + frames;
}

/** A leg, with the seconds that it has encoded; null where something else has limited it. */
export type EncodedLeg = readonly [leg: LegRecord, seconds: number | null];

/** Learns from legs. */
export function learnEncoding(legs: readonly EncodedLeg[]): EncodingFactors {
  const usual = middle([usualEncoding, ...legs.map(([leg]) => leg.encodeBytesPerSecond)]) as number;
  const telling = legs.flatMap(([leg, seconds]) => {
    if (seconds === null || leg.encodeBytesPerSecond === null) return [];
    const sample = sampleSeconds(loadOf(leg), usual);
    return [{ ...sample, seconds: Math.max(0, seconds - sample.frames) }];
  });
  const alone = middle([
    usualAlone,
    ...telling.map((leg) => (leg.together === 0 && leg.alone > 0 ? leg.seconds / leg.alone : null)),
  ]) as number;
  const together = middle([
    usualTogether,
    ...telling.map((leg) =>
      leg.together > tellingShare * (leg.alone + leg.together)
        ? Math.max(0, leg.seconds - leg.alone * alone) / leg.together
        : null,
    ),
  ]) as number;
  return { usual, alone, together };
}

/** What a leg encoded, as it is remembered. */
export function loadOf({ kind, changedBytes, pageWireBytes, encodeBytesPerSecond }: LegRecord): EncodedLoad {
  return { kind, changedBytes, frameBytes: pageWireBytes, sampleBytesPerSecond: encodeBytesPerSecond };
}

/**
 * How fast a sample says that pages are encoded, in bytes a second. It is so short that chance moves it about as much as the
 * pages do: the truth is taken to lie halfway between it and what samples usually say, as ratios go.
 */
export function sampleSpeed(sampleBytesPerSecond: number | null, usual: number): number {
  return Math.sqrt((sampleBytesPerSecond ?? usual) * usual);
}

/** What the sample's speed would make of the part of each, and what the frames take. */
function sampleSeconds(
  { kind, changedBytes, frameBytes, sampleBytesPerSecond }: EncodedLoad,
  usual: number,
): {
  readonly alone: number;
  readonly together: number;
  readonly frames: number;
} {
  const speed = sampleSpeed(sampleBytesPerSecond, usual);
  const aloneBytes = kind === "first" ? Math.min(changedBytes, threadsAfterBytes) : changedBytes;
  return {
    alone: aloneBytes / speed,
    together: (changedBytes - aloneBytes) / speed,
    frames: frameBytes / framesBytesPerSecond,
  };
}
