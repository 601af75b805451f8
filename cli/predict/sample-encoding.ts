/**
 * Encodes sampled pages as a leg would encode them, to learn what they make on the wire and how fast. The sample has a page
 * space of its own, so that what this takes depends on the sample and not on the memory. Pages that moved are not found
 * in it: they count as what they would be without that.
 */

import { setImmediate as breathe } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import { BaseWindow } from "../leg/base-window.ts";
import { CodecChoice } from "../leg/codec-choice.ts";
import type { CommonBase } from "../leg/common-base.ts";
import { middle } from "../middle.ts";
import { GenerationContent, type StoredGeneration } from "../store/generation-reader.ts";
import type { GuestMemory } from "./guest-memory.ts";

const pageBytes = 4096;
/** What is left for encoding of the thread that also reads, stores and sends. */
const pipelineShare = 0.5;
const warmUpBytes = 128 * 1024;
const warmUps = 6;
/** Pages that are encoded between two breaths. */
const pagesAtOnce = 64;
/** Fewer pages do not tell how fast it goes. */
const tellingPages = 128;
/** No clock tells less of a page, and none is encoded as fast. */
const fastestPageMs = 1e-4;

/** A page to encode. */
export interface SampledPage {
  readonly page: number;
  /** The process's own; else it is as the image that the memory was mapped from has it, or zero without one. */
  readonly isOwn: boolean;
}

/** What pages have made. */
export interface EncodedSample {
  readonly pages: number;
  /** Bytes on the wire for each byte. */
  readonly cost: number;
  /** By the frame in the middle, as garbage is collected in one of them; null if they were too few to say. */
  readonly bytesPerSecond: number | null;
}

/** What is encoded, and against what. */
export interface SampleSource {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly memory: GuestMemory;
  readonly base: CommonBase;
  /** What the memory was mapped from; null if it was not. */
  readonly image: StoredGeneration | null;
  readonly bytesPerSecond: number;
}

/**
 * Milliseconds that this thread has worked, at most: of the time that went by and the processor's time of the whole process
 * the less. How busy the machine is at the moment must not choose the codec, nor what other threads compile meanwhile.
 */
function threadClock(): () => number {
  const processorMs = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  };
  let total = 0;
  let wall = performance.now();
  let processor = processorMs();
  return () => {
    const [nowWall, nowProcessor] = [performance.now(), processorMs()];
    total += Math.min(nowWall - wall, nowProcessor - processor);
    [wall, processor] = [nowWall, nowProcessor];
    return total;
  };
}

/** Codecs that have run once in this process are as fast as they will be. */
let isWarm = false;

/** Encodes samples of one guest's memory. Close it. */
export class SampleEncoding {
  private readonly source: SampleSource;
  private readonly codec: CodecChoice;
  private readonly contents: GenerationContent[] = [];
  /** Windows over what is read of generations, opened when they are needed. */
  private readonly windows = new Map<StoredGeneration, BaseWindow>();
  private readonly page: number;
  private readonly clock = threadClock();
  private frameBytes = 0;
  private spentMs = 0;

  constructor(source: SampleSource) {
    this.source = source;
    const { core, bytesPerSecond } = source;
    // A leg sees the link's rate, or what it makes itself where that is less than the link carries.
    const encoded = () => (this.frameBytes * 1000) / Math.max(1, this.encodingMs);
    const isBusy = () => this.frameBytes > 0 && bytesPerSecond <= encoded();
    this.codec = new CodecChoice(
      core,
      {
        bytesPerSecond: () => {
          if (this.frameBytes === 0) return null;
          return isBusy() ? bytesPerSecond : encoded() * pipelineShare;
        },
        isBusy,
      },
      this.clock,
    );
    this.page = core.allocate(pageBytes);
    if (!isWarm) this.warmUp();
    isWarm = true;
  }

  /** Encodes pages, in the order of their numbers. */
  async encode(pages: readonly SampledPage[]): Promise<EncodedSample> {
    if (pages.length === 0) return { pages: 0, cost: 1, bytesPerSecond: null };
    const { core } = this.source;
    const space = this.spaceOf(pages);
    const before = this.frameBytes;
    let count = 0;
    // Milliseconds a page, of each frame.
    const speeds: number[] = [];
    let frame = { spentMs: this.encodingMs, count: 0, bytes: before };
    const timed = (work: () => void) => {
      const begun = this.clock();
      work();
      this.spentMs += this.clock() - begun;
      if (this.frameBytes === frame.bytes || count === frame.count) return;
      speeds.push((this.encodingMs - frame.spentMs) / (count - frame.count));
      frame = { spentMs: this.encodingMs, count, bytes: this.frameBytes };
    };
    try {
      for (const [at, sampled] of pages.entries()) {
        timed(() => {
          if (!this.read(sampled)) return;
          count++;
          // QEMU tells zero pages as such.
          if (core.raw.isZero(this.page, pageBytes)) space.encoder.zeroPage(0, at);
          else space.encoder.page(0, at, this.page);
        });
        if (at % pagesAtOnce === pagesAtOnce - 1) await breathe();
      }
      timed(() => space.encoder.flush());
    } finally {
      space.encoder.release();
      space.digests.release();
    }
    const pageMs = count < tellingPages ? null : middle(speeds);
    return {
      pages: count,
      cost: count === 0 ? 1 : Math.min(2, (this.frameBytes - before) / (count * pageBytes)),
      bytesPerSecond: pageMs === null ? null : (pageBytes * 1000) / Math.max(fastestPageMs, pageMs),
    };
  }

  close(): void {
    for (const content of this.contents) content.close();
  }

  /** A page space of these pages alone, with what the leg's two sides have of them in common. */
  private spaceOf(pages: readonly SampledPage[]): { encoder: ChangeEncoder; digests: PageDigests } {
    const { core, key, base } = this.source;
    const geometry = placeRegions([{ name: "sample", kind: "ram", lengthBytes: pages.length * pageBytes }]);
    const known = base.mode === "nothing" ? undefined : gathered(base.digests, pages);
    const digests = new PageDigests(core, key, geometry, known);
    const common: Common =
      base.mode === "digests"
        ? { mode: "digests", own: gathered(base.ownDigests, pages) }
        : base.mode === "content"
          ? {
              mode: "content",
              reader: {
                basePage: (at) => this.windowOver(base.generation).basePage((pages[at] as SampledPage).page),
              },
              digests: gathered(base.digests, pages),
            }
          : { mode: "nothing" };
    const sink = (frame: Uint8Array) => {
      this.frameBytes += frame.length;
    };
    const encoder = new ChangeEncoder(core, digests, common, sink, new FrameSequence(2), this.codec.choose);
    return { encoder, digests };
  }

  private read({ page, isOwn }: SampledPage): boolean {
    const { core, memory, image } = this.source;
    if (isOwn) return memory.read(page, core.bytes(), this.page);
    if (image) this.windowOver(image).readBasePage(page, this.page);
    else core.bytes().fill(0, this.page, this.page + pageBytes);
    return true;
  }

  private windowOver(generation: StoredGeneration): BaseWindow {
    const { core } = this.source;
    const open = () => {
      const content = new GenerationContent(core, generation);
      this.contents.push(content);
      return new BaseWindow(core, content);
    };
    const window = this.windows.get(generation) ?? open();
    this.windows.set(generation, window);
    return window;
  }

  /** Compresses something to no end: a codec that runs for the first time is slow, and a leg would soon be past that. */
  private warmUp(): void {
    const { core } = this.source;
    const codec = new CodecChoice(core, { bytesPerSecond: () => null, isBusy: () => false });
    const plain = core.bytes().slice(0, warmUpBytes);
    for (let i = 0; i < warmUps; i++) codec.choose()?.(plain);
  }

  /** Without what was spent on codecs that were only tried: a leg tries them more seldom than so short a sample. */
  private get encodingMs(): number {
    return this.spentMs - this.codec.triedMs;
  }
}

/** The digests of these pages alone. */
function gathered(digests: Uint8Array, pages: readonly SampledPage[]): Uint8Array {
  const found = new Uint8Array(pages.length * digestBytes);
  for (const [at, { page }] of pages.entries()) {
    found.set(digests.subarray(page * digestBytes, (page + 1) * digestBytes), at * digestBytes);
  }
  return found;
}
