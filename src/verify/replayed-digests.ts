/** Page digests that come out when a delta is replayed on the digests of its base. */

import type { Core } from "../core.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { CheckedGeneration } from "./checked-generation.ts";
import {
  DigestReader,
  type DigestWindow,
  type DigestWindows,
  digestsInMemory,
  readAllDigests,
  windowsOf,
} from "./digest-windows.ts";
import { clearBit, differences, noBits, setBit } from "./page-bits.ts";
import { PageDigestsFile } from "./page-digests-file.ts";

/** Takes the digests that records give. */
export interface ReplayedDigests {
  /** The digests of these pages, counted over all regions, are now those in `digests`, 16 bytes each. */
  take(pages: readonly number[], digests: Uint8Array): Promise<void> | void;
}

/** For when it is known what must come out, or only that is asked: one bit a page. */
export class ComparedDigests implements ReplayedDigests {
  /** Pages whose digest is not the generation's, as a bitmap. */
  readonly unlike: Uint8Array;
  private readonly expected: DigestReader;

  constructor(expected: DigestWindows, unlike: Uint8Array) {
    this.expected = new DigestReader(expected);
    this.unlike = unlike;
  }

  async take(pages: readonly number[], digests: Uint8Array): Promise<void> {
    let window: DigestWindow = { firstPage: 0, digests: new Uint8Array(0) };
    for (const [i, page] of pages.entries()) {
      let own = (page - window.firstPage) * digestBytes;
      if (own < 0 || own >= window.digests.length) {
        window = await this.expected.at(page);
        own = (page - window.firstPage) * digestBytes;
      }
      let isSame = true;
      for (let byte = 0; byte < digestBytes; byte++) {
        if (window.digests[own + byte] !== digests[i * digestBytes + byte]) isSame = false;
      }
      if (isSame) clearBit(this.unlike, page);
      else setBit(this.unlike, page);
    }
  }
}

/** For when that is only known afterwards: 16 bytes a page. */
export class KeptDigests implements ReplayedDigests {
  readonly digests: Uint8Array;

  constructor(digests: Uint8Array) {
    this.digests = digests;
  }

  take(pages: readonly number[], digests: Uint8Array): void {
    for (const [i, page] of pages.entries()) {
      this.digests.set(digests.subarray(i * digestBytes, (i + 1) * digestBytes), page * digestBytes);
    }
  }
}

/** All digests of the base are kept. Null if nothing vouches for them. Throws FormatError or SourceError. */
export async function keepDigestsOf(
  core: Core,
  base: CheckedGeneration,
  totalPages: number,
): Promise<KeptDigests | null> {
  return await withDigestsOf(core, base, totalPages, async (digests) => {
    const all = new Uint8Array(totalPages * digestBytes);
    await readAllDigests(digests, all);
    return new KeptDigests(all);
  });
}

/** The base's digests are compared with those of the generation. Null if nothing vouches for the base's. */
export async function compareDigestsOf(
  core: Core,
  base: CheckedGeneration,
  expected: DigestWindows,
): Promise<ComparedDigests | null> {
  const { totalPages } = expected;
  return await withDigestsOf(core, base, totalPages, async (digests) => {
    const unlike = noBits(totalPages);
    const reader = new DigestReader(expected, 1);
    for await (const window of windowsOf(digests)) {
      const own = await reader.at(window.firstPage);
      // Windows begin at multiples of 8 pages.
      unlike.set(differences(own.digests, window.digests), window.firstPage / 8);
    }
    return new ComparedDigests(expected, unlike);
  });
}

async function withDigestsOf<T>(
  core: Core,
  base: CheckedGeneration,
  totalPages: number,
  use: (digests: DigestWindows) => Promise<T>,
): Promise<T | null> {
  if (!base.digestsGood) return base.rightDigests && (await use(digestsInMemory(base.rightDigests)));
  if (base.digestSums === null) return null;
  const file = new PageDigestsFile(core, base, totalPages, base.digestSums);
  try {
    return await use(file);
  } finally {
    file.close();
  }
}
