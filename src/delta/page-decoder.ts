/** Turns pages frames back into page contents. The layout of the columns is drawn in `page-encoder.ts`. */

import { ByteReader } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { checkFrame, plainColumns } from "./frame.ts";
import { FrameKind, frameHeaderBytes, frameLimits, pageBytes, RecordKind } from "./vocabulary.ts";

/** Where the decoder gets the base's content from. */
export interface BasePages {
  /**
   * Writes 4096 bytes of the base to `target` in the core's memory. `page` counts over all regions in
   * their order. A page that the base lacks is zero.
   */
  readBasePage(page: number, target: number): void;
}

/** What a decoded frame says: parallel arrays, valid until the next call of `decode`. */
export interface DecodedPages {
  readonly region: number;
  readonly sequence: number;
  readonly count: number;
  /** Region-relative page of each record. */
  readonly pages: Uint32Array;
  readonly kinds: Uint8Array;
  /** Pointer to `count` × 4096 bytes in the core's memory: the contents in the order of the records. */
  readonly contents: number;
}

/** Extent of a region in the space that counts pages over all regions. */
export interface RegionExtent {
  readonly firstPage: number;
  readonly pages: number;
  /** Set for disks: their blocks are numbered after the page space and are never moved, nor moved to. */
  readonly isDisk?: true;
}

/** Decodes pages frames of one leg. Holds windows in the core's memory: one decoder for a leg. */
export class PageDecoder {
  private readonly core: Core;
  private readonly regions: readonly RegionExtent[];
  /** Pages that moved records may refer to: those of RAM. */
  private readonly ramPages: number;
  private readonly base: BasePages;
  private readonly contents: number;
  private readonly window: number;
  private readonly input: number;
  private readonly pages = new Uint32Array(frameLimits.records);

  constructor(core: Core, regions: readonly RegionExtent[], base: BasePages) {
    this.core = core;
    this.regions = regions;
    this.base = base;
    this.ramPages = regions
      .filter(({ isDisk }) => !isDisk)
      .reduce((end, region) => Math.max(end, region.firstPage + region.pages), 0);
    this.contents = core.allocate(frameLimits.records * pageBytes);
    this.window = core.allocate(frameLimits.wholePages * pageBytes);
    this.input = core.allocate(frameLimits.columnsBytes + frameLimits.wholePages * pageBytes);
  }

  /** Gives the windows back to the core. */
  release(): void {
    for (const pointer of [this.contents, this.window, this.input]) this.core.release(pointer);
  }

  /** Decodes one complete frame of kind pages. Throws FormatError if anything in it is not as it must be. */
  decode(frame: Uint8Array): DecodedPages {
    const header = checkFrame(this.core, frame);
    const fail = (what: string): never => {
      throw new FormatError("bad-value", `Cannot decode frame ${header.sequence}: ${what}`);
    };
    if (header.kind !== FrameKind.pages) fail("it is not a pages frame");
    if (header.region >= this.regions.length) fail(`region ${header.region} does not exist`);
    const region = this.regions[header.region];
    const columns = new ByteReader(plainColumns(this.core, frame, header));
    const moved = columns.u32("number of moved pages");
    const whole = columns.u32("number of whole pages");
    const maskBytes = columns.u32("length of masks");
    const literalWords = columns.u32("number of literals");
    if (whole > frameLimits.wholePages) fail(`${whole} whole pages exceed ${frameLimits.wholePages}`);
    const kinds = columns.take(header.records, "kinds");
    this.readPages(columns, header.records, region.pages, fail);
    const references = new ByteReader(columns.take(moved * 4, "references"));
    const sizes = new ByteReader(columns.take(whole * 2, "sizes of whole pages"));
    const masks = columns.take(maskBytes, "masks");
    const literals = columns.take(literalWords * 8, "literals");
    if (columns.remaining !== 0) fail(`${columns.remaining} bytes are left over in its columns`);
    const wholePages = frame.subarray(frameHeaderBytes + header.columnsBytes);

    const memory = this.core.bytes();
    memory.set(masks, this.input);
    memory.set(literals, this.input + maskBytes);
    const wholeInput = this.input + maskBytes + literals.length;
    memory.set(wholePages, wholeInput);
    const cursor = {
      mask: this.input,
      masksEnd: this.input + maskBytes,
      literal: this.input + maskBytes,
      literalsEnd: wholeInput,
      whole: wholeInput,
      wholeEnd: wholeInput + wholePages.length,
      windowPages: 0,
    };
    for (let i = 0; i < header.records; i++) {
      const target = this.contents + i * pageBytes;
      const kind = kinds[i];
      if (kind === RecordKind.same) {
        this.base.readBasePage(region.firstPage + this.pages[i], target);
      } else if (kind === RecordKind.zero) {
        this.core.bytes().fill(0, target, target + pageBytes);
      } else if (kind === RecordKind.moved) {
        const reference = references.u32("reference");
        if (region.isDisk) fail(`record ${i} moves a block of a disk`);
        if (reference >= this.ramPages) fail(`record ${i} refers to page ${reference}, beyond the base`);
        this.base.readBasePage(reference, target);
      } else if (kind === RecordKind.delta) {
        this.base.readBasePage(region.firstPage + this.pages[i], target);
        this.applyDelta(cursor, target, () => fail(`record ${i}: its masks or literals are not valid`));
      } else if (kind === RecordKind.lz4 || kind === RecordKind.raw) {
        if (sizes.remaining === 0) fail(`record ${i} has no size`);
        this.unpackWhole(cursor, kind, sizes.u16("size"), target, () =>
          fail(`record ${i}: its whole page is not valid`),
        );
      } else {
        fail(`record ${i} has unknown kind ${kind}`);
      }
    }
    if (references.remaining || sizes.remaining || cursor.mask !== cursor.masksEnd)
      fail("columns are left over");
    if (cursor.literal !== cursor.literalsEnd || cursor.whole !== cursor.wholeEnd) fail("data is left over");
    return {
      region: header.region,
      sequence: header.sequence,
      count: header.records,
      pages: this.pages,
      kinds: kinds.slice(),
      contents: this.contents,
    };
  }

  private readPages(
    columns: ByteReader,
    records: number,
    limit: number,
    fail: (what: string) => never,
  ): void {
    let page = -1;
    for (let i = 0; i < records; i++) {
      page = (page + 1 + columns.u32("page")) >>> 0;
      if (page >= limit) fail(`record ${i} is for page ${page}, its region has ${limit}`);
      this.pages[i] = page;
    }
  }

  private applyDelta(
    cursor: { mask: number; masksEnd: number; literal: number; literalsEnd: number },
    target: number,
    fail: () => never,
  ): void {
    const packed = this.core.raw.deltaApply(
      target,
      cursor.mask,
      cursor.masksEnd - cursor.mask,
      cursor.literal,
      cursor.literalsEnd - cursor.literal,
    );
    if (packed <= 0) fail();
    cursor.mask += packed & 0xff;
    cursor.literal += (packed >>> 8) * 8;
  }

  private unpackWhole(
    cursor: { whole: number; wholeEnd: number; windowPages: number },
    kind: number,
    size: number,
    target: number,
    fail: () => never,
  ): void {
    const { raw } = this.core;
    const start = cursor.windowPages * pageBytes;
    const fits = kind === RecordKind.raw ? size === pageBytes : size > 0 && size < pageBytes;
    if (!fits || size > cursor.wholeEnd - cursor.whole || cursor.windowPages === frameLimits.wholePages)
      fail();
    if (kind === RecordKind.raw) this.core.raw.copy(this.window + start, cursor.whole, pageBytes);
    else if (raw.lz4DecompressLinked(cursor.whole, size, this.window, start, pageBytes) !== pageBytes) fail();
    this.core.raw.copy(target, this.window + start, pageBytes);
    cursor.whole += size;
    cursor.windowPages++;
  }
}
