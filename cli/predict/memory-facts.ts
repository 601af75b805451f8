/**
 * What a leg would find in a guest's memory: how much differs from what the peer has, what that makes on the wire, and how
 * fast it changes. Found from contents: sampled pages are compared with the base and encoded as the leg would encode them.
 */

import { setTimeout as sleep } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import type { CommonBase } from "../leg/common-base.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { type GuestMemory, PageState } from "./guest-memory.ts";
import { lookAt, type MemoryLook, type Written, writtenBetween } from "./memory-look.ts";
import { SampleEncoding } from "./sample-encoding.ts";
import { fitWriting, type Writing } from "./writing.ts";

const pageBytes = 4096;
const digestWords = digestBytes / 4;
/** So many pages say well enough how many of all are filled. */
const filledSample = 1 << 14;

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
  quick: { lookMs: 60, encodedPages: 384, encodedFirstPages: 1024, watchMs: 60 },
  thorough: { lookMs: 500, encodedPages: 2048, encodedFirstPages: 2048, watchMs: 1000 },
} as const;

/** Measures. Rejects where the process ends meanwhile. */
export async function measureMemory(probe: MemoryProbe): Promise<MemoryFacts> {
  const { core, key, memory, base, mapped, effort, before } = probe;
  const look = await lookAt(core, key, memory, { budgetMs: effort.lookMs });
  const encoding = new SampleEncoding({ ...probe, image: mapped?.generation ?? null });
  try {
    const zero = zeroDigest(core, key);
    let changedOwn: number[] = [];
    for (const [page, digest] of look.digests) {
      const known = base.mode === "nothing" ? zero : base.digests;
      if (!sameDigest(known, base.mode === "nothing" ? 0 : page, digest, 0)) changedOwn.push(page);
    }
    // Pages that are as mapped are known by their digests, all of them.
    const { filled: filledMapped, changed: changedMapped } = mappedPages(look.states, base, mapped, zero);
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
    const first = await encoding.encode(
      [
        ...changedOwn.map((page) => ({ page, isOwn: true })),
        ...mappedSample.map((page) => ({ page, isOwn: false })),
      ].sort((a, b) => a.page - b.page),
    );
    await sleep(Math.max(0, effort.watchMs - (performance.now() - look.atMs)));
    const again = await lookAt(core, key, memory, { budgetMs: effort.lookMs / 2, share: look.share });
    const short = writtenBetween(look, again);
    const long = before ? writtenBetween(before, look) : null;
    const dirty = await encoding.encode(
      thin(dirtyPages(short, long), effort.encodedPages)
        .map((page) => ({ page, isOwn: true }))
        .sort((a, b) => a.page - b.page),
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

/**
 * Of the pages that are not the process's own: how many are not zero, and which differ from what the peer has. If that is
 * what they were mapped from none does, and every so many of them say how many are not zero.
 */
function mappedPages(
  states: Uint8Array,
  base: CommonBase,
  mapped: MemoryProbe["mapped"],
  zero: Uint8Array,
): { readonly filled: number; readonly changed: readonly number[] } {
  const [own, theirs, none] = [
    mapped && wordsOf(mapped.digests),
    base.mode === "nothing" ? null : wordsOf(base.digests),
    wordsOf(zero),
  ];
  const isSameImage = base.mode === "content" && base.generation.directory === mapped?.generation.directory;
  // Odd: in step with nothing that comes in powers of two.
  const step = isSameImage ? Math.floor(states.length / filledSample) | 1 : 1;
  const changed: number[] = [];
  let filled = 0;
  for (let page = 0; page < states.length; page += step) {
    if (states[page] === PageState.own) continue;
    const at = page * digestWords;
    const isMapped = own !== null && states[page] === PageState.asMapped;
    const isZero = !isMapped || sameWords(own, at, none, 0);
    if (!isZero) filled++;
    if (isSameImage) continue;
    const differs =
      theirs === null
        ? !isZero
        : isMapped
          ? !sameWords(theirs, at, own, at)
          : !sameWords(theirs, at, none, 0);
    if (differs) changed.push(page);
  }
  return { filled: filled * step, changed };
}

/** The same bytes, four at a time; a copy where they do not stand at a multiple of four. */
function wordsOf(digests: Uint8Array): Uint32Array {
  const { buffer, byteOffset, byteLength } = digests.byteOffset % 4 === 0 ? digests : digests.slice();
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

function sameWords(a: Uint32Array, at: number, b: Uint32Array, from: number): boolean {
  return (
    a[at] === b[from] && a[at + 1] === b[from + 1] && a[at + 2] === b[from + 2] && a[at + 3] === b[from + 3]
  );
}

function zeroDigest(core: Core, key: Uint8Array): Uint8Array {
  return core.blake3(new Uint8Array(pageBytes), key, digestBytes);
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
