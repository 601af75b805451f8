/**
 * Feeds a waiting QEMU: a stream made anew that has only the pages which its mapped image lacks, then the
 * device state as the source's QEMU sent it. Commands of the source's stream (return path, pings) are left out.
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { Geometry, PlacedRegion } from "../../src/generation/geometry.ts";
import {
  encodeBlockName,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/encoder.ts";
import type { IncomingMigration } from "../qemu/incoming-migration.ts";
import type { GenerationContent } from "../store/generation-reader.ts";

const ramSectionId = 2;
const pagesPerPart = 256;
/** Bytes that may wait for QEMU before whoever feeds is made to wait too. */
const maxWaitingBytes = 64 << 20;

/** The stream into one QEMU. */
export class IncomingFeed {
  private readonly core: Core;
  private readonly geometry: Geometry;
  private readonly names: readonly Uint8Array[];
  private readonly mapsFirstRegion: boolean;
  private readonly target: Promise<IncomingMigration>;
  private queue: Promise<void>;
  private waitingBytes = 0;
  private failure: unknown = null;

  /**
   * `incoming` may still be on its way. `mapsFirstRegion`: what is written to the image of the main RAM
   * reaches QEMU through its mapping, so pages of that region are not fed.
   */
  constructor(
    core: Core,
    geometry: Geometry,
    incoming: Promise<IncomingMigration>,
    options: { readonly machine: string; readonly mapsFirstRegion: boolean },
  ) {
    this.core = core;
    this.geometry = geometry;
    this.mapsFirstRegion = options.mapsFirstRegion;
    this.names = geometry.regions.map(({ name }) => encodeBlockName(name));
    const blocks = geometry.regions.map(({ name, lengthBytes }) => ({ id: name, lengthBytes }));
    this.queue = Promise.resolve();
    this.target = incoming;
    incoming.catch(() => {});
    this.enqueue(encodeHeader(options.machine));
    this.enqueue(encodeRamStart(ramSectionId, blocks));
  }

  /** Feeds every page of the regions after the first: they are not mapped from a file. */
  async feedSmallRegions(content: GenerationContent | null): Promise<void> {
    for (const region of this.geometry.regions.slice(1)) {
      const pages = Array.from({ length: region.pages }, (_, i) => i);
      await this.feedFrom(region, pages, content);
    }
  }

  /** Feeds the pages of the main RAM that the mapped image does not have: those of the deltas above it. */
  async feedPagesAboveImage(content: GenerationContent): Promise<void> {
    const [main] = this.geometry.regions;
    const pages: number[] = [];
    for (const page of content.pagesAboveImage()) if (page < main.pages) pages.push(page);
    await this.feedFrom(main, pages, content);
  }

  /** Feeds the pages of a decoded frame. */
  async feedDecoded(decoded: DecodedPages): Promise<void> {
    if (decoded.region === 0 && this.mapsFirstRegion) return;
    const { pages, count, contents, region } = decoded;
    for (let from = 0; from < count; from += pagesPerPart) {
      const until = Math.min(count, from + pagesPerPart);
      this.enqueue(this.part(region, pages.subarray(from, until), contents + from * pageBytes));
    }
    await this.notTooFarBehind();
  }

  /** Ends the stream with the device state. Resolves when QEMU has taken it all. */
  async finish(deviceState: Uint8Array): Promise<void> {
    this.enqueue(encodeRamEnd(ramSectionId));
    this.enqueue(deviceState);
    this.enqueue(encodeVmDescription());
    await this.queue;
    if (this.failure) throw this.failure;
    (await this.target).end();
  }

  private async feedFrom(
    region: PlacedRegion,
    pages: readonly number[],
    content: GenerationContent | null,
  ): Promise<void> {
    const scratch = this.core.allocate(pagesPerPart * pageBytes);
    try {
      for (let from = 0; from < pages.length; from += pagesPerPart) {
        const some = pages.slice(from, from + pagesPerPart);
        if (content === null) this.core.bytes().fill(0, scratch, scratch + some.length * pageBytes);
        for (let i = 0; content !== null && i < some.length; ) {
          let run = 1;
          while (i + run < some.length && some[i + run] === some[i] + run) run++;
          content.readPages(region.firstPage + some[i], run, scratch + i * pageBytes);
          i += run;
        }
        this.enqueue(this.part(region.index, some, scratch));
        await this.notTooFarBehind();
        // QEMU may be starting meanwhile, and whoever waits for it has to have a turn.
        await nextTurn();
      }
    } finally {
      this.core.release(scratch);
    }
  }

  /** A PART section with the given pages, whose contents stand one after the other at `contents`. */
  private part(region: number, pages: ArrayLike<number>, contents: number): Uint8Array {
    const room = RAM_SECTION_BEGIN_BYTES + pages.length * PAGE_RECORD_MAX_BYTES + RAM_SECTION_END_BYTES;
    const bytes = new Uint8Array(room);
    const memory = this.core.bytes();
    const name = this.names[region];
    let at = writeRamSectionBegin(bytes, 0, "part", ramSectionId);
    for (let i = 0; i < pages.length; i++) {
      const from = contents + i * pageBytes;
      // A block's name is written once a section; the pages after it continue.
      const block = i === 0 ? name : undefined;
      if (this.core.raw.isZero(from, pageBytes)) at = writeZeroPage(bytes, at, pages[i], block);
      else at = writePage(bytes, at, pages[i], block, memory, from);
    }
    at = writeRamSectionEnd(bytes, at, ramSectionId);
    return bytes.subarray(0, at);
  }

  private enqueue(bytes: Uint8Array): void {
    this.waitingBytes += bytes.length;
    this.queue = this.queue
      .then(async () => {
        if (this.failure === null) await (await this.target).write(bytes);
      })
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => {
        this.waitingBytes -= bytes.length;
      });
  }

  private async notTooFarBehind(): Promise<void> {
    if (this.waitingBytes > maxWaitingBytes) await this.queue;
    if (this.failure) throw this.failure;
  }
}
