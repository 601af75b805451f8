/** Reads the RAM of a generation through its chain and checks every page against the generation's digests. */

import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import type { PlacedRegion } from "../../src/generation/geometry.ts";
import { messageOf } from "../errors.ts";
import { GenerationContent, readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import type { DamageLog } from "./damage-log.ts";

/** Pages that are handed over at a time, at most. */
export const windowPages = 256;

/** Takes the pages of all regions in order. */
export interface PageTaker {
  /** `count` pages from `first` of the region stand at `pointer` in the core's memory, during the call. */
  pages(region: PlacedRegion, first: number, count: number, pointer: number): void;
}

/**
 * Hands every page to `taker`. What differs from the generation's digests goes to `log`. Returns the digests of what
 * was read, to be released by the caller. Throws OperationError or FormatError if an image or delta cannot be read.
 */
export async function readRam(
  core: Core,
  key: Uint8Array,
  generation: StoredGeneration,
  taker: PageTaker,
  log: DamageLog,
  onBytes: (bytes: number) => void,
): Promise<PageDigests> {
  const stored = await readDigests(generation).catch((error: unknown) => {
    log.add(null, messageOf(error));
    return null;
  });
  const content = new GenerationContent(core, generation);
  const { geometry } = content;
  const digests = new PageDigests(core, key, geometry);
  const window = core.allocate(windowPages * pageBytes);
  const found = core.allocate(windowPages * digestBytes);
  try {
    for (const region of geometry.regions) {
      for (let first = 0; first < region.pages; first += windowPages) {
        const count = Math.min(windowPages, region.pages - first);
        const page = region.firstPage + first;
        content.readPages(page, count, window);
        core.raw.pageDigests(window, count, digests.keyPointer, found);
        const memory = core.bytes();
        for (let i = 0; i < count; i++) {
          const at = found + i * digestBytes;
          if (!digests.equals(page + i, memory, at)) digests.set(region.index, page + i, memory, at);
          if (stored !== null && !isDigestAt(stored, page + i, memory, at)) {
            log.wrong(region.name, "page", first + i);
          }
        }
        taker.pages(region, first, count, window);
        onBytes(count * pageBytes);
      }
    }
    return digests;
  } catch (error) {
    digests.release();
    throw error;
  } finally {
    content.close();
    core.release(window);
    core.release(found);
  }
}

function isDigestAt(digests: Uint8Array, page: number, from: Uint8Array, at: number): boolean {
  for (let i = 0; i < digestBytes; i++) if (digests[page * digestBytes + i] !== from[at + i]) return false;
  return true;
}
