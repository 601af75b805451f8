/** Page digests in windows, wherever they come from, so that nobody needs all of them in memory. */

import { FormatError } from "../errors.ts";
import { digestBytes } from "../generation/digest-tree.ts";

/** Pages of a window; 64 KiB of digests. A multiple of the pages of a range that is hashed. */
export const digestWindowPages = 4096;
/** Windows that are kept for digests in no order: 1 MiB. */
const cachedWindows = 16;

/** Digests of all pages, 16 bytes each. Window `i` begins with page `i * digestWindowPages`; only the last is shorter. */
export interface DigestWindows {
  readonly totalPages: number;
  /** Fills `target`, which has the window's length. Throws FormatError or SourceError. */
  read(index: number, target: Uint8Array): Promise<void> | void;
}

/** A window that was read. */
export interface DigestWindow {
  readonly firstPage: number;
  readonly digests: Uint8Array;
}

/** So many pages with one digest. */
export function sameDigests(digest: Uint8Array, totalPages: number): DigestWindows {
  const read = (_index: number, target: Uint8Array) => {
    for (let at = 0; at < target.length; at += digestBytes) target.set(digest, at);
  };
  return { totalPages, read };
}

/** Digests that are in memory. */
export function digestsInMemory(digests: Uint8Array): DigestWindows {
  const read = (index: number, target: Uint8Array) => {
    const from = index * digestWindowPages * digestBytes;
    target.set(digests.subarray(from, from + target.length));
  };
  return { totalPages: digests.length / digestBytes, read };
}

/** All digests: `target` has 16 bytes a page. */
export async function readAllDigests(digests: DigestWindows, target: Uint8Array): Promise<void> {
  for await (const { firstPage, digests: part } of windowsOf(digests)) {
    target.set(part, firstPage * digestBytes);
  }
}

/** All windows in their order, each valid until the next one is asked for. */
export async function* windowsOf(digests: DigestWindows): AsyncGenerator<DigestWindow> {
  const reader = new DigestReader(digests, 1);
  for (let page = 0; page < digests.totalPages; page += digestWindowPages) yield await reader.at(page);
}

/** Reads windows as they are needed and keeps those that were used last. */
export class DigestReader {
  private readonly source: DigestWindows;
  private readonly limit: number;
  /** The one used last is at the end. */
  private readonly windows = new Map<number, Uint8Array>();

  constructor(source: DigestWindows, limit = cachedWindows) {
    this.source = source;
    this.limit = limit;
  }

  /** The window that has the page, valid until the next call. Throws FormatError or SourceError. */
  async at(page: number): Promise<DigestWindow> {
    const index = Math.floor(page / digestWindowPages);
    const firstPage = index * digestWindowPages;
    let window = this.windows.get(index);
    this.windows.delete(index);
    if (window === undefined) {
      const pages = Math.min(digestWindowPages, this.source.totalPages - firstPage);
      window = this.spare().subarray(0, pages * digestBytes);
      await this.source.read(index, window);
    }
    this.windows.set(index, window);
    return { firstPage, digests: window };
  }

  private spare(): Uint8Array {
    if (this.windows.size >= this.limit) {
      for (const [index, { buffer }] of this.windows) {
        this.windows.delete(index);
        return new Uint8Array(buffer);
      }
    }
    return new Uint8Array(Math.min(digestWindowPages, this.source.totalPages) * digestBytes);
  }
}

/** Memory for the digests of one generation after the other: the collector may be late with what is not used any more. */
export class DigestMemory {
  private last: Uint8Array | null = null;

  /**
   * As many bytes, with what the one before left in them; nobody may use that any more. Throws FormatError if there is no
   * room.
   */
  take(bytes: number): Uint8Array {
    if (this.last?.length === bytes) return this.last;
    this.last = null;
    try {
      this.last = new Uint8Array(bytes);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new FormatError("unsupported", `Cannot check pages: no memory for ${bytes} bytes of digests`);
    }
    return this.last;
  }
}
