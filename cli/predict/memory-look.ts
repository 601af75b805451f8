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
const stepPages = 400;
/** So few are all looked at, found without a walk over all pages. */
const fewPages = 4 * stepPages;

/** What was seen. */
export interface MemoryLook {
  /** Milliseconds of `performance.now()`, in the middle of it. */
  readonly atMs: number;
  /** State of each page. */
  readonly states: Uint8Array;
  /** Pages that are the process's own. */
  readonly ownPages: number;
  /** Share of the pages that the sample was drawn up to, 1 for all: see `SampleOrder`. */
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
 * The order in which pages are chosen: always so many pages further on, modulo their number, that any beginning of the
 * order lies evenly over the memory, in step with nothing that comes in powers of two. So many are the golden section of
 * all (Knuth, The Art of Computer Programming, section 6.4), or the next number that has no divisor in common with them.
 */
export class SampleOrder {
  /** How many pages the next one is further on. */
  readonly step: number;
  private readonly pages: bigint;
  private readonly inverse: bigint;

  /** Of so many pages, at least one. */
  constructor(pages: number) {
    let step = Math.max(1, Math.round(pages * goldenSection));
    while (!isCoprime(step, pages)) step++;
    this.step = step;
    this.pages = BigInt(pages);
    this.inverse = inverseOf(BigInt(step), this.pages);
  }

  /** Where a page stands in the order, counted from 0. */
  placeOf(page: number): number {
    return Number((BigInt(page) * this.inverse) % this.pages);
  }
}

const goldenSection = (Math.sqrt(5) - 1) / 2;

function isCoprime(a: number, b: number): boolean {
  return b === 0 ? a === 1 : isCoprime(b, a % b);
}

/** The x below `modulus` with a · x = 1 modulo it, by Euclid's algorithm. They have no divisor in common. */
function inverseOf(a: bigint, modulus: bigint): bigint {
  let [rest, next] = [modulus, a % modulus];
  let [x, nextX] = [0n, 1n];
  while (next !== 0n) {
    const quotient = rest / next;
    [rest, next] = [next, rest % next];
    [x, nextX] = [nextX, x - quotient * nextX];
  }
  return ((x % modulus) + modulus) % modulus;
}

/** Looks at as many pages as there is time for. */
export async function lookAt(
  core: Core,
  key: Uint8Array,
  memory: GuestMemory,
  { budgetMs, share: most = 1 }: LookLimits,
): Promise<MemoryLook> {
  const begun = performance.now();
  const { states, ownPages } = memory.states();
  const { length } = states;
  const last = Math.round(most * length);
  const scratch = core.allocate(pageBytes + 64);
  const [keyAt, digestAt] = [scratch + pageBytes, scratch + pageBytes + 32];
  const digests = new Map<number, Uint8Array>();
  let zeroPages = 0;
  const look = (page: number) => {
    if (!memory.read(page, core.bytes(), scratch)) return;
    core.raw.pageDigest(scratch, keyAt, digestAt);
    if (core.raw.isZero(scratch, pageBytes)) zeroPages++;
    digests.set(page, core.bytes().slice(digestAt, digestAt + digestBytes));
  };
  let place = 0;
  try {
    core.bytes().set(key, keyAt);
    if (ownPages <= fewPages && last === length) {
      const next = (after: number) => states.indexOf(PageState.own, after + 1);
      for (let page = next(-1); page >= 0; page = next(page)) look(page);
      place = length;
    }
    const { step } = new SampleOrder(length);
    let page = 0;
    while (place < last) {
      const enough = digests.size + stepPages;
      for (; place < last && digests.size < enough; place++) {
        if (states[page] === PageState.own) look(page);
        page = page + step < length ? page + step : page + step - length;
      }
      await breathe();
      if (performance.now() - begun >= budgetMs) break;
    }
  } finally {
    core.release(scratch);
  }
  const share = place / length;
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
  const order = new SampleOrder(after.states.length);
  const last = Math.round(share * after.states.length);
  const pages: number[] = [];
  for (const [page, digest] of after.digests) {
    if (share < after.share && order.placeOf(page) >= last) continue;
    const known = before.digests.get(page);
    // A page that was not the process's own before was written to since.
    if (known === undefined ? before.states[page] !== PageState.own : !bytesEqual(known, digest))
      pages.push(page);
  }
  const seconds = (after.atMs - before.atMs) / 1000;
  return { seconds, bytes: (pages.length / share) * pageBytes, pages };
}
