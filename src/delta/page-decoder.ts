/** Turns pages frames back into page contents. The layout of the columns is drawn in `page-encoder.ts`. */

import { ByteReader } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { checkFrame, type FrameHeader, plainColumns } from "./frame.ts";
import { FrameCodec, FrameKind, frameHeaderBytes, frameLimits, pageBytes, RecordKind } from "./vocabulary.ts";

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

/** A pages frame whose checksum and columns were checked, but not yet its records. Valid while the frame is. */
export interface ParsedPages {
  readonly header: FrameHeader;
  /** Region-relative page of each record. */
  readonly pages: Uint32Array;
  readonly kinds: Uint8Array;
  /** 4 bytes for each moved record. */
  readonly references: Uint8Array;
  readonly sizes: Uint8Array;
  readonly masks: Uint8Array;
  readonly literals: Uint8Array;
  /** What stands after the columns. */
  readonly wholePages: Uint8Array;
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
    return this.apply(this.parse(frame));
  }

  /**
   * The first half of `decode`, for a base that has to be waited for: `basePagesOf` says which pages `apply` will ask
   * for. Throws FormatError. What it returns is valid until the next call.
   */
  parse(frame: Uint8Array): ParsedPages {
    const header = checkFrame(this.core, frame);
    const fail = failFor(header);
    if (header.kind !== FrameKind.pages) fail("it is not a pages frame");
    if (header.region >= this.regions.length) fail(`region ${header.region} does not exist`);
    const columns = new ByteReader(plainColumns(this.core, frame, header));
    const moved = columns.u32("number of moved pages");
    const whole = columns.u32("number of whole pages");
    const maskBytes = columns.u32("length of masks");
    const literalWords = columns.u32("number of literals");
    if (whole > frameLimits.wholePages) fail(`${whole} whole pages exceed ${frameLimits.wholePages}`);
    const kinds = columns.take(header.records, "kinds");
    this.readPages(columns, header.records, this.regions[header.region].pages, fail);
    const references = columns.take(moved * 4, "references");
    const sizes = columns.take(whole * 2, "sizes of whole pages");
    const masks = columns.take(maskBytes, "masks");
    const literals = columns.take(literalWords * 8, "literals");
    let wholePages = frame.subarray(frameHeaderBytes + header.columnsBytes);
    if (header.codec === FrameCodec.zstd) {
      if (kinds.includes(RecordKind.lz4)) fail("a page is compressed twice");
      if (columns.remaining !== whole * pageBytes) fail("its whole pages have another length");
      wholePages = columns.take(columns.remaining, "whole pages");
    }
    if (columns.remaining !== 0) fail(`${columns.remaining} bytes are left over in its columns`);
    return { header, pages: this.pages, kinds, references, sizes, masks, literals, wholePages };
  }

  /**
   * Pages of the base that the records of a parsed frame need, in the order of the records, counted over all regions.
   * One that does not exist is left out: `apply` refuses the record.
   */
  basePagesOf({ header, pages, kinds, references }: ParsedPages): number[] {
    const { firstPage } = this.regions[header.region];
    const moved = new DataView(references.buffer, references.byteOffset, references.length);
    const needed: number[] = [];
    let at = 0;
    for (let i = 0; i < header.records; i++) {
      if (kinds[i] === RecordKind.same || kinds[i] === RecordKind.delta) needed.push(firstPage + pages[i]);
      if (kinds[i] !== RecordKind.moved || at + 4 > references.length) continue;
      const reference = moved.getUint32(at, true);
      at += 4;
      if (reference < this.ramPages) needed.push(reference);
    }
    return needed;
  }

  /** The second half of `decode`. Throws FormatError. */
  apply(parsed: ParsedPages): DecodedPages {
    const { header, kinds, masks, literals, wholePages } = parsed;
    const fail = failFor(header);
    const region = this.regions[header.region];
    const references = new ByteReader(parsed.references);
    const sizes = new ByteReader(parsed.sizes);
    const memory = this.core.bytes();
    memory.set(masks, this.input);
    memory.set(literals, this.input + masks.length);
    const wholeInput = this.input + masks.length + literals.length;
    memory.set(wholePages, wholeInput);
    const cursor = {
      mask: this.input,
      masksEnd: this.input + masks.length,
      literal: this.input + masks.length,
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

function failFor({ sequence }: FrameHeader): (what: string) => never {
  return (what) => {
    throw new FormatError("bad-value", `Cannot decode frame ${sequence}: ${what}`);
  };
}
