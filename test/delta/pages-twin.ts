/** A naive twin of a region's pages: a map from page number to content. */

import type { Core } from "../../src/core.ts";
import type { BasePages, DecodedPages } from "../../src/delta/page-decoder.ts";
import { noiseFrom, page } from "../store/model-store.ts";

/** Pages by their number; those that are not in the map are zero. */
export type Pages = Map<number, Uint8Array>;

export const zeroes = new Uint8Array(page);

/** A page of noise. */
export function noisePage(seed: number): Uint8Array {
  const noise = noiseFrom(seed);
  return new Uint8Array(page).map(noise);
}

/** A page that compresses well. */
export function textPage(seed: number): Uint8Array {
  return new Uint8Array(page).map((_, i) => ((seed + (i >> 5)) & 0x1f) + 65);
}

/** A copy of a page with `words` of its 8-byte words changed, spread over it. */
export function withWords(content: Uint8Array, words: number, seed: number): Uint8Array {
  const changed = content.slice();
  for (let i = 0; i < words; i++) changed[(((i * 512) / words) | 0) * 8 + (seed & 7)] ^= 0xa5;
  return changed;
}

export function contentOf(pages: Pages, number: number): Uint8Array {
  return pages.get(number) ?? zeroes;
}

/** The twin as a base for decoding. */
export function baseOf(core: Core, pages: Pages): BasePages {
  return { readBasePage: (number, target) => core.bytes().set(contentOf(pages, number), target) };
}

/** What a decoded frame says, as copies. */
export function recordsOf(
  core: Core,
  decoded: DecodedPages,
): { page: number; kind: number; content: Uint8Array }[] {
  return Array.from({ length: decoded.count }, (_, i) => {
    const at = decoded.contents + i * page;
    return { page: decoded.pages[i], kind: decoded.kinds[i], content: core.bytes().slice(at, at + page) };
  });
}
