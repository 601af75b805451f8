/** Compares the pages of an image file with the digests of its generation. */

import { pageBytes } from "../delta/vocabulary.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { CheckContext } from "./checked-generation.ts";
import { DigestReader, type DigestWindow, type DigestWindows } from "./digest-windows.ts";
import { bitOf } from "./page-bits.ts";
import { maxRangePages } from "./page-hashing.ts";
import type { RandomAccess } from "./random-access.ts";

const digestWords = digestBytes / 4;

/** What a page of an image is. `leftover`: it is not used here, but is neither zero nor what the generation has. */
export type PageVerdict = "good" | "wrong" | "leftover";

/** How an image is looked at. */
export interface ImageVisitor {
  /** What the pages should be. */
  readonly expected: DigestWindows;
  /** Pages that this image answers for; null: all of them. */
  readonly dirty: Uint8Array | null;
  /** Gets the digest of each page that the image answers for, 16 bytes a page; null if nobody wants them. */
  readonly actual: Uint8Array | null;
  /** Called for pages that are not good, in ascending order. `page` counts over all regions. */
  readonly onPage: (page: number, verdict: Exclude<PageVerdict, "good">) => void;
}

/** Pages whose digests are on their way. */
interface Awaited {
  readonly first: number;
  readonly count: number;
  readonly digests: Uint8Array;
  readonly ready: Promise<void>;
}

/** Looks at an image of exactly the geometry's length. Throws FormatError or SourceError if it cannot be read. */
export async function checkImage(
  { core, key, hasher, pacing, onBytes }: CheckContext,
  input: RandomAccess,
  visitor: ImageVisitor,
): Promise<void> {
  const { totalPages } = visitor.expected;
  const judge = judgeFor(visitor, core.blake3(new Uint8Array(pageBytes), key, digestBytes));
  const expected = new DigestReader(visitor.expected, 1);
  const spare: Uint8Array[] = [];
  const underWay: Awaited[] = [];
  let next = 0;
  const ask = () => {
    const digests = spare.pop() ?? new Uint8Array(maxRangePages * digestBytes);
    const first = next;
    const count = Math.min(maxRangePages, totalPages - first);
    const ready = hasher.digestPages({ key, input, firstPage: first, count, out: digests });
    ready.catch(() => {});
    underWay.push({ first, count, digests, ready });
    next += count;
  };
  try {
    for (let done = 0; done < totalPages; ) {
      while (underWay.length < hasher.lanes && next < totalPages) ask();
      const [{ first, count, digests, ready }] = underWay;
      await ready;
      underWay.shift();
      judge(first, count, digests, await expected.at(first));
      spare.push(digests);
      done += count;
      onBytes(count * pageBytes);
      await pacing.turn();
    }
  } finally {
    // The file is closed after this: nobody may still read it.
    await Promise.allSettled(underWay.map(({ ready }) => ready));
  }
}

/** Judges pages by their digests, a word of 4 bytes at a time: that is done for every page there is. */
function judgeFor({ dirty, actual, onPage }: ImageVisitor, zeroDigest: Uint8Array) {
  const zero = wordsOf(zeroDigest);
  const kept = actual && wordsOf(actual);
  // Windows begin where ranges do, so one window has all pages of a range.
  return (first: number, count: number, digests: Uint8Array, window: DigestWindow): void => {
    const wanted = wordsOf(window.digests);
    const found = wordsOf(digests);
    for (let i = 0; i < count; i++) {
      const page = first + i;
      const at = i * digestWords;
      const own = page * digestWords;
      const isRight = sameWords(wanted, own - window.firstPage * digestWords, found, at);
      if (dirty !== null && !bitOf(dirty, page)) {
        if (!isRight && !sameWords(zero, 0, found, at)) onPage(page, "leftover");
        continue;
      }
      if (kept) for (let word = 0; word < digestWords; word++) kept[own + word] = found[at + word];
      if (!isRight) onPage(page, "wrong");
    }
  };
}

/** Digests that begin at a multiple of 4 bytes. */
function wordsOf(digests: Uint8Array): Uint32Array {
  return new Uint32Array(digests.buffer, digests.byteOffset, digests.length / 4);
}

function sameWords(a: Uint32Array, at: number, b: Uint32Array, from: number): boolean {
  return (
    a[at] === b[from] && a[at + 1] === b[from + 1] && a[at + 2] === b[from + 2] && a[at + 3] === b[from + 3]
  );
}
