/** The digests of a generation's pages, as its file has them: first read for its root, then again in windows. */

import { bytesEqual } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { DigestStream } from "../generation/digest-stream.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { Geometry } from "../generation/geometry.ts";
import type { CheckContext, HeldGeneration } from "./checked-generation.ts";
import { isDamage } from "./damage.ts";
import { type DigestWindows, digestWindowPages } from "./digest-windows.ts";
import { type OpenedFile, openInput, pathIn } from "./generation-files.ts";
import { readFully, SourceError } from "./random-access.ts";

/** What the file gave when it was read for the first time. */
export interface FirstReading {
  /** Top of each region's tree, 16 bytes each. */
  readonly tops: readonly Uint8Array[];
  /** Digest of each window, 16 bytes each: 1 KiB for each GiB of guest memory. */
  readonly sums: Uint8Array;
}

/** The file, open. What is read again must be what was read first: whoever serves it may not be trusted. Close it. */
export class PageDigestsFile implements DigestWindows {
  readonly totalPages: number;
  private readonly core: Core;
  private readonly path: string;
  private readonly input: OpenedFile;
  private readonly sums: Uint8Array;

  /** Throws FormatError or SourceError if it cannot be opened or has another length. */
  constructor(core: Core, { files }: HeldGeneration, totalPages: number, sums: Uint8Array) {
    this.core = core;
    this.totalPages = totalPages;
    this.path = pathIn(files, "digests");
    this.sums = sums;
    this.input = openInput(files, "digests");
    const expected = totalPages * digestBytes;
    const { sizeBytes } = this.input;
    if (sizeBytes === expected) return;
    this.input.close();
    throw new FormatError("bad-length", `Cannot use ${this.path}: ${sizeBytes} bytes, ${expected} expected`);
  }

  async read(index: number, target: Uint8Array): Promise<void> {
    try {
      await this.readUnchecked(index, target);
    } catch (cause) {
      if (!isDamage(cause) || !(cause instanceof Error)) throw cause;
      throw new SourceError(`Cannot read ${this.path} again: ${cause.message}`, { cause });
    }
    const sum = this.sums.subarray(index * digestBytes, (index + 1) * digestBytes);
    if (bytesEqual(this.core.blake3(target, undefined, digestBytes), sum)) return;
    throw new FormatError("mismatch", `Cannot use ${this.path}: it was changed while it was verified`);
  }

  /** Reads all of it, and fills the sums. Throws FormatError, SourceError, or the signal's reason. */
  async readFirst({ core, key, pacing }: CheckContext, { regions }: Geometry): Promise<FirstReading> {
    const window = new Uint8Array(digestWindowPages * digestBytes);
    const tops: Uint8Array[] = [];
    let held = { index: -1, bytes: window };
    for (const { firstPage, pages } of regions) {
      const stream = new DigestStream(core, key);
      try {
        for (let page = firstPage; page < firstPage + pages; ) {
          const index = Math.floor(page / digestWindowPages);
          const first = index * digestWindowPages;
          if (index !== held.index) {
            const count = Math.min(digestWindowPages, this.totalPages - first);
            const bytes = window.subarray(0, count * digestBytes);
            await this.readUnchecked(index, bytes);
            this.sums.set(core.blake3(bytes, undefined, digestBytes), index * digestBytes);
            held = { index, bytes };
            await pacing.turn();
          }
          const end = Math.min(firstPage + pages, first + digestWindowPages);
          stream.add(held.bytes.subarray((page - first) * digestBytes, (end - first) * digestBytes));
          page = end;
        }
        tops.push(stream.top());
      } finally {
        stream.release();
      }
    }
    return { tops, sums: this.sums };
  }

  close(): void {
    this.input.close();
  }

  private async readUnchecked(index: number, target: Uint8Array): Promise<void> {
    await readFully(this.input, target, index * digestWindowPages * digestBytes);
  }
}

/** Opens the digests of a generation and reads them once. Throws FormatError, SourceError, or the signal's reason. */
export async function openPageDigests(
  context: CheckContext,
  held: HeldGeneration,
  geometry: Geometry,
): Promise<{ readonly file: PageDigestsFile; readonly first: FirstReading }> {
  const sums = new Uint8Array(Math.ceil(geometry.totalPages / digestWindowPages) * digestBytes);
  const file = new PageDigestsFile(context.core, held, geometry.totalPages, sums);
  try {
    return { file, first: await file.readFirst(context, geometry) };
  } catch (error) {
    file.close();
    throw error;
  }
}
