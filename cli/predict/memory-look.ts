/**
 * A look at a sample of a guest's pages. The same pages are chosen each time, so that two looks say what the guest has
 * written between them, and a look and the digests of a generation what it has changed since.
 */

import { setImmediate as breathe } from "node:timers/promises";
import { bytesEqual } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { type GuestMemory, PageState } from "./guest-memory.ts";

const pageBytes = 4096;
const digestBytes = 16;
/** Pages of a step: an agent has other things to do in between. */
const firstPages = 400;
/** Each step walks over all pages. */
const leastStep = 1 / 64;

/** What was seen. */
export interface MemoryLook {
  /** Milliseconds of `performance.now()`, in the middle of it. */
  readonly atMs: number;
  /** State of each page. */
  readonly states: Uint8Array;
  /** Pages that are the process's own. */
  readonly ownPages: number;
  /** Share of the pages that the sample was drawn up to, 1 for all: see `placeOf`. */
  readonly share: number;
  /** Digests of the sampled pages among its own. */
  readonly digests: ReadonlyMap<number, Uint8Array>;
  readonly zeroPages: number;
}

/** How much to look at. */
export interface LookLimits {
  /** No further pages are begun on after this time. */
  readonly budgetMs: number;
  /** Share of the pages at most: that of another look that it will be compared with. */
  readonly share?: number;
}

/**
 * Where a page stands in the order in which pages are chosen, from 0 to 1. Multiples of √½, modulo 1: any beginning of the
 * order lies evenly over the memory, in step with nothing that comes in powers of two (Knuth, section 6.4).
 */
export function placeOf(page: number): number {
  return (Math.imul(page, 0xb504f333) >>> 0) / 2 ** 32;
}

/** Looks at as many pages as there is time for. */
export async function lookAt(
  core: Core,
  key: Uint8Array,
  memory: GuestMemory,
  { budgetMs, share: most = 1 }: LookLimits,
): Promise<MemoryLook> {
  const begun = performance.now();
  const states = memory.states();
  let ownPages = 0;
  for (const state of states) if (state === PageState.own) ownPages++;
  const step = Math.max(firstPages / Math.max(1, ownPages), leastStep);
  const scratch = core.allocate(pageBytes + 64);
  const [keyAt, digestAt] = [scratch + pageBytes, scratch + pageBytes + 32];
  const digests = new Map<number, Uint8Array>();
  let zeroPages = 0;
  let share = 0;
  try {
    core.bytes().set(key, keyAt);
    do {
      const next = Math.min(most, share + step);
      for (let page = 0; page < states.length; page++) {
        if (states[page] !== PageState.own) continue;
        const place = placeOf(page);
        if (place < share || place >= next || !memory.read(page, core.bytes(), scratch)) continue;
        core.raw.pageDigest(scratch, keyAt, digestAt);
        if (core.raw.isZero(scratch, pageBytes)) zeroPages++;
        digests.set(page, core.bytes().slice(digestAt, digestAt + digestBytes));
      }
      share = next;
      await breathe();
    } while (share < most && performance.now() - begun < budgetMs);
  } finally {
    core.release(scratch);
  }
  return { atMs: (begun + performance.now()) / 2, states, ownPages, share, digests, zeroPages };
}

/** What was written between two looks. */
export interface Written {
  readonly seconds: number;
  /** Estimate of distinct bytes. */
  readonly bytes: number;
  /** Those among the sampled pages, by number. */
  readonly pages: readonly number[];
}

/** Compares two looks, as far as they are about the same pages. */
export function writtenBetween(before: MemoryLook, after: MemoryLook): Written {
  const share = Math.min(before.share, after.share);
  const pages: number[] = [];
  for (const [page, digest] of after.digests) {
    if (placeOf(page) >= share) continue;
    const known = before.digests.get(page);
    // A page that was not the process's own before was written to since.
    if (known === undefined ? before.states[page] !== PageState.own : !bytesEqual(known, digest))
      pages.push(page);
  }
  const seconds = (after.atMs - before.atMs) / 1000;
  return { seconds, bytes: (pages.length / share) * pageBytes, pages };
}
