/**
 * What a leg would find in a guest's memory: how much differs from what the peer has, what that makes on the wire, and how
 * fast it changes. Found from contents: sampled pages are compared with the base and encoded as the leg would encode them.
 */

import { setImmediate as breathe, setTimeout as sleep } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions } from "../../src/generation/geometry.ts";
import { BaseWindow } from "../leg/base-window.ts";
import { CodecChoice } from "../leg/codec-choice.ts";
import type { CommonBase } from "../leg/common-base.ts";
import { GenerationContent, type StoredGeneration } from "../store/generation-reader.ts";
import { type GuestMemory, PageState } from "./guest-memory.ts";
import { lookAt, type MemoryLook, type Written, writtenBetween } from "./memory-look.ts";
import { fitWriting, type Writing } from "./writing.ts";

const pageBytes = 4096;
/** What is left for encoding of the thread that also reads, stores and sends. */
const pipelineShare = 0.5;
const warmUpBytes = 128 * 1024;
const warmUps = 6;
/** Pages that are encoded between two breaths. */
const pagesAtOnce = 64;

/** What is known of a guest's memory. Bytes of guest memory unless named otherwise. */
export interface MemoryFacts {
  readonly filledBytes: number;
  /** Differs from what the peer has. */
  readonly changedBytes: number;
  /** Standard deviation of that, from the sample. */
  readonly changedDeviation: number;
  /** Bytes on the wire for each byte: of what differs, and of what is written while the leg runs. */
  readonly pageCost: number;
  readonly dirtyPageCost: number;
  readonly writing: Writing;
  /** How fast the sample was encoded; null if it was too small to say. */
  readonly encodeBytesPerSecond: number | null;
  readonly sampledPages: number;
}

/** What to measure, and with how much effort. */
export interface MemoryProbe {
  /** A core of its own, as a leg has. */
  readonly core: Core;
  readonly key: Uint8Array;
  readonly memory: GuestMemory;
  /** What the leg would be encoded against. */
  readonly base: CommonBase;
  /** The newest generation here and its digests: what the memory was mapped from; null if it was not. */
  readonly mapped: { readonly generation: StoredGeneration; readonly digests: Uint8Array } | null;
  readonly bytesPerSecond: number;
  readonly effort: ProbeEffort;
  /** A look at the same memory some time ago. */
  readonly before: MemoryLook | null;
}

/** How much time may be spent. */
export interface ProbeEffort {
  /** For a look at a sample of the pages. */
  readonly lookMs: number;
  /** Most pages that are encoded: of a way back, and of a first leg, which takes long enough and depends on how fast that is. */
  readonly encodedPages: number;
  readonly encodedFirstPages: number;
  /** Between two looks at the same pages. */
  readonly watchMs: number;
}

/** While a leg waits, and when somebody has asked. */
export const probeEfforts = {
  quick: { lookMs: 60, encodedPages: 384, encodedFirstPages: 1024, watchMs: 120 },
  thorough: { lookMs: 500, encodedPages: 2048, encodedFirstPages: 2048, watchMs: 1000 },
} as const;

/** Measures. Rejects where the process ends meanwhile. */
export async function measureMemory(probe: MemoryProbe): Promise<MemoryFacts> {
  const { core, key, memory, base, mapped, effort, before } = probe;
  const look = await lookAt(core, key, memory, { budgetMs: effort.lookMs });
  const own = ownGeneration(base) ?? mapped?.generation ?? null;
  const geometry = own
    ? placeRegions(own.manifest.regions)
    : placeRegions([{ name: "ram", kind: "ram", lengthBytes: memory.pages * pageBytes }]);
  const encoding = new Encoding(probe, geometry);
  try {
    const zero = encoding.zero;
    const isZeroAt = (digests: Uint8Array, page: number) => sameDigest(digests, page, zero, 0);
    let changedOwn: number[] = [];
    for (const [page, digest] of look.digests) {
      const known = base.mode === "nothing" ? zero : base.digests;
      if (!sameDigest(known, base.mode === "nothing" ? 0 : page, digest, 0)) changedOwn.push(page);
    }
    // Pages that are as mapped are known by their digests, all of them.
    const changedMapped: number[] = [];
    let filledMapped = 0;
    for (let page = 0; page < memory.pages; page++) {
      if (look.states[page] === PageState.own) continue;
      const isZero = look.states[page] === PageState.untouched || !mapped || isZeroAt(mapped.digests, page);
      if (!isZero) filledMapped++;
      const differs =
        base.mode === "nothing"
          ? !isZero
          : isZero
            ? !isZeroAt(base.digests, page)
            : !sameDigest(
                base.digests,
                page,
                (mapped as { digests: Uint8Array }).digests,
                page * digestBytes,
              );
      if (differs) changedMapped.push(page);
    }
    const sampled = look.digests.size;
    const scale = sampled === 0 ? 0 : look.ownPages / sampled;
    const changedPages = changedOwn.length * scale + changedMapped.length;
    const most = base.mode === "nothing" ? effort.encodedFirstPages : effort.encodedPages;
    changedOwn = thin(changedOwn, most);
    const perSample = changedOwn.length === 0 ? 0 : (changedPages - changedMapped.length) / changedOwn.length;
    const mappedSample = thin(
      changedMapped,
      perSample === 0 ? most : Math.ceil(changedMapped.length / perSample),
    );
    encoding.warmUp();
    const first = await encoding.encode(
      [
        ...changedOwn.map((page) => [page, true] as const),
        ...mappedSample.map((page) => [page, false] as const),
      ].sort(([a], [b]) => a - b),
    );
    await sleep(Math.max(0, effort.watchMs - (performance.now() - look.atMs)));
    const again = await lookAt(core, key, memory, { budgetMs: effort.lookMs / 2, share: look.share });
    const short = writtenBetween(look, again);
    const long = before ? writtenBetween(before, look) : null;
    const dirty = await encoding.encode(
      thin(dirtyPages(short, long), effort.encodedPages).map((page) => [page, true] as const),
    );
    const pageCost = first.pages > 0 ? first.cost : 1;
    return {
      filledBytes: (filledMapped + (sampled - look.zeroPages) * scale) * pageBytes,
      changedBytes: Math.round(changedPages) * pageBytes,
      changedDeviation: deviation(look, changedPages - changedMapped.length) * pageBytes,
      pageCost,
      dirtyPageCost: dirty.pages > 0 ? dirty.cost : pageCost,
      writing: fitWriting(short, long, {
        memoryBytes: memory.pages * pageBytes,
        leastBytes: pageBytes / again.share,
      }),
      encodeBytesPerSecond: first.bytesPerSecond,
      sampledPages: sampled,
    };
  } finally {
    encoding.close();
  }
}

/** Pages that were written in the short window, or else in the long one. */
function dirtyPages(short: Written, long: Written | null): readonly number[] {
  return short.pages.length >= 8 || long === null
    ? short.pages
    : [...new Set([...short.pages, ...long.pages])];
}

/** In pages: that of a share found in a sample. A page that was seen, or not, stands for one of so many. */
function deviation({ share, ownPages, digests }: MemoryLook, changedPages: number): number {
  if (share >= 1 || digests.size === 0) return 0;
  const changed = Math.min(1, changedPages / ownPages);
  const rest = 1 - share;
  return Math.max(1 / share, ownPages * Math.sqrt((rest * changed * (1 - changed)) / digests.size));
}

function ownGeneration(base: CommonBase): StoredGeneration | null {
  if (base.mode === "nothing") return null;
  return base.mode === "content" ? base.generation : base.own;
}

function thin(pages: readonly number[], most: number): number[] {
  if (pages.length <= most) return [...pages];
  const step = pages.length / most;
  return Array.from({ length: most }, (_, i) => pages[Math.floor(i * step)]);
}

function sameDigest(a: Uint8Array, page: number, b: Uint8Array, at: number): boolean {
  const from = page * digestBytes;
  for (let i = 0; i < digestBytes; i++) if (a[from + i] !== b[at + i]) return false;
  return true;
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

/** Encodes pages as the leg would. */
class Encoding {
  readonly zero: Uint8Array;
  private readonly probe: MemoryProbe;
  private readonly digests: PageDigests;
  private readonly codec: CodecChoice;
  private readonly encoder: ChangeEncoder;
  private readonly contents: GenerationContent[] = [];
  private readonly image: BaseWindow | null;
  private readonly page: number;
  private readonly clock = threadClock();
  private frameBytes = 0;
  private spentMs = 0;

  constructor(probe: MemoryProbe, geometry: Geometry) {
    this.probe = probe;
    const { core, key, base, mapped, bytesPerSecond } = probe;
    this.digests = new PageDigests(
      core,
      key,
      geometry,
      base.mode === "nothing" ? undefined : base.digests.slice(),
    );
    this.zero = this.digests.zero;
    const open = (generation: StoredGeneration) => {
      const content = new GenerationContent(core, generation);
      this.contents.push(content);
      return new BaseWindow(core, content);
    };
    const common: Common =
      base.mode === "content"
        ? { mode: "content", reader: open(base.generation), digests: base.digests }
        : base.mode === "digests"
          ? { mode: "digests", own: base.ownDigests }
          : { mode: "nothing" };
    this.image = mapped ? open(mapped.generation) : null;
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
    this.encoder = new ChangeEncoder(
      core,
      this.digests,
      common,
      (frame) => {
        this.frameBytes += frame.length;
      },
      new FrameSequence(2),
      this.codec.choose,
    );
    this.page = core.allocate(pageBytes);
  }

  /** Compresses something to no end: a codec that runs for the first time is slow, and a leg would soon be past that. */
  warmUp(): void {
    const { core } = this.probe;
    const codec = new CodecChoice(core, { bytesPerSecond: () => null, isBusy: () => false });
    const plain = core.bytes().slice(0, warmUpBytes);
    for (let i = 0; i < warmUps; i++) codec.choose()?.(plain);
  }

  /** Encodes pages: from the process, or, where they are as mapped, from the image. */
  async encode(
    pages: readonly (readonly [page: number, isOwn: boolean])[],
  ): Promise<{ pages: number; cost: number; bytesPerSecond: number | null }> {
    const { core, memory } = this.probe;
    const before = this.frameBytes;
    let count = 0;
    const spentBefore = this.encodingMs;
    for (const [page, isOwn] of pages) {
      const begun = this.clock();
      if (isOwn) {
        if (!memory.read(page, core.bytes(), this.page)) continue;
      } else if (this.image) this.image.readBasePage(page, this.page);
      else core.bytes().fill(0, this.page, this.page + pageBytes);
      // QEMU tells zero pages as such.
      if (core.raw.isZero(this.page, pageBytes)) this.encoder.zeroPage(0, page);
      else this.encoder.page(0, page, this.page);
      this.spentMs += this.clock() - begun;
      if (++count % pagesAtOnce === 0) await breathe();
    }
    const begun = this.clock();
    this.encoder.flush();
    this.spentMs += this.clock() - begun;
    const spentMs = this.encodingMs - spentBefore;
    const cost = count === 0 ? 1 : Math.min(2, (this.frameBytes - before) / (count * pageBytes));
    return {
      pages: count,
      cost,
      bytesPerSecond: count < 128 ? null : (count * pageBytes * 1000) / Math.max(1, spentMs),
    };
  }

  close(): void {
    for (const content of this.contents) content.close();
  }

  /** Without what was spent on codecs that were only tried: a leg tries them more seldom than so short a sample. */
  private get encodingMs(): number {
    return this.spentMs - this.codec.triedMs;
  }
}
