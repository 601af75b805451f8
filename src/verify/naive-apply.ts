/**
 * Applies pages frames a second way: record by record, word by word, in plain TypeScript without the WASM core. What
 * the core makes of a frame is held against this (`bfmig verify --cross-check`). With `PageDecoder` it shares the
 * frame's header and nothing else, but where the platform brings no zstd of its own: there both use the one of
 * `src/zstd`. The layout is in `docs/FORMAT.md`, "Pages".
 */

import { ByteReader, bytesEqual, concatBytes } from "../bytes.ts";
import { decodeFrameHeader, type FrameHeader } from "../delta/frame.ts";
import type { RegionExtent } from "../delta/page-decoder.ts";
import {
  FrameCodec,
  FrameKind,
  frameHeaderBytes,
  frameLimits,
  pageBytes,
  RecordKind,
} from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { decompressZstd } from "../zstd/decompress.ts";
import { naiveBlake3 } from "./naive-blake3.ts";
import { naiveLz4Decode } from "./naive-lz4.ts";

const wordBytes = 8;
const groups = 64;
const checksumAt = 32;
const checksumBytes = 16;

/** A page of the base, 4096 bytes, by its number over all regions (blocks of disks: as `RegionExtent` places them). */
export type NaiveBase = (page: number) => Uint8Array;

/** What one record says. */
export interface NaiveRecord {
  readonly kind: RecordKind;
  /** Region-relative page. */
  readonly page: number;
  /** The page's 4096 bytes. */
  readonly content: Uint8Array;
}

/** What a pages frame says, record by record. */
export interface NaivePages {
  readonly region: number;
  readonly sequence: number;
  readonly records: readonly NaiveRecord[];
}

/** Decodes one complete pages frame. Throws FormatError if anything in it is not as it must be. */
export function naiveApply(frame: Uint8Array, regions: readonly RegionExtent[], base: NaiveBase): NaivePages {
  const header = naiveCheckFrame(frame);
  if (header.kind !== FrameKind.pages) throw bad(header, "it is not a pages frame");
  if (header.region >= regions.length) throw bad(header, `region ${header.region} does not exist`);
  const columns = readColumns(header, naiveColumns(frame, header));
  const isZstd = header.codec === FrameCodec.zstd;
  if (!isZstd && columns.rest.length !== 0) throw bad(header, "its columns have bytes left over");
  if (isZstd && columns.kinds.includes(RecordKind.lz4)) throw bad(header, "a page is compressed twice");
  const wholePages = isZstd ? columns.rest : frame.subarray(frameHeaderBytes + header.columnsBytes);
  const records = applyRecords(header, columns, wholePages, regions, base);
  return { region: header.region, sequence: header.sequence, records };
}

/** Checks length and checksum of a complete frame of any kind and returns its header. Throws FormatError. */
export function naiveCheckFrame(frame: Uint8Array): FrameHeader {
  const header = decodeFrameHeader(frame);
  const expected = frameHeaderBytes + header.payloadBytes;
  if (frame.length !== expected) {
    const code = frame.length < expected ? "truncated" : "bad-length";
    throw new FormatError(code, `Cannot check frame ${header.sequence}: ${expected} bytes expected`);
  }
  const unsealed = frame.slice().fill(0, checksumAt, checksumAt + checksumBytes);
  const checksum = naiveBlake3(unsealed, undefined, checksumBytes);
  if (!bytesEqual(frame.subarray(checksumAt, checksumAt + checksumBytes), checksum)) {
    throw new FormatError("bad-checksum", `Cannot check frame ${header.sequence}: its checksum differs`);
  }
  return header;
}

/**
 * The columns of a checked frame in plain form, with codec zstd the whole pages after them. Throws FormatError if they
 * do not decompress to their length.
 */
export function naiveColumns(frame: Uint8Array, header: FrameHeader): Uint8Array {
  const stored = frame.subarray(frameHeaderBytes, frameHeaderBytes + header.columnsBytes);
  if (header.codec === FrameCodec.stored) return stored;
  if (header.codec === FrameCodec.lz4) return naiveLz4Decode(stored, header.plainBytes);
  if (header.codec === FrameCodec.zstd) return decompressZstd(stored, header.plainBytes);
  throw bad(header, "it needs the device state of a base");
}

interface Columns {
  readonly kinds: Uint8Array;
  readonly pages: readonly number[];
  readonly references: ByteReader;
  readonly sizes: ByteReader;
  readonly masks: ByteReader;
  readonly literals: ByteReader;
  /** What follows the columns: whole pages, in a frame for zstd. */
  readonly rest: Uint8Array;
}

function readColumns(header: FrameHeader, plain: Uint8Array): Columns {
  const reader = new ByteReader(plain);
  const moved = reader.u32("number of moved pages");
  const whole = reader.u32("number of whole pages");
  const maskBytes = reader.u32("length of masks");
  const literalWords = reader.u32("number of literals");
  const kinds = reader.take(header.records, "kinds");
  const pages: number[] = [];
  let page = -1;
  for (let i = 0; i < header.records; i++) {
    page = (page + 1 + reader.u32("page")) % 2 ** 32;
    pages.push(page);
  }
  const rest = (bytes: number, what: string) => new ByteReader(reader.take(bytes, what));
  const columns = {
    kinds,
    pages,
    references: rest(moved * 4, "references"),
    sizes: rest(whole * 2, "sizes of whole pages"),
    masks: rest(maskBytes, "masks"),
    literals: rest(literalWords * wordBytes, "literals"),
    rest: reader.take(reader.remaining, "whole pages"),
  };
  if (whole > frameLimits.wholePages) throw bad(header, `it has ${whole} whole pages`);
  return columns;
}

function applyRecords(
  header: FrameHeader,
  columns: Columns,
  wholePages: Uint8Array,
  regions: readonly RegionExtent[],
  base: NaiveBase,
): NaiveRecord[] {
  const region = regions[header.region];
  const wholeInput = new ByteReader(wholePages);
  const window: Uint8Array[] = [];
  const contentOf = (kind: number, page: number): Uint8Array => {
    switch (kind) {
      case RecordKind.same:
        return base(region.firstPage + page).slice();
      case RecordKind.zero:
        return new Uint8Array(pageBytes);
      case RecordKind.moved:
        return base(referenceOf(header, columns.references, regions)).slice();
      case RecordKind.delta:
        return changed(header, base(region.firstPage + page), columns.masks, columns.literals);
      case RecordKind.lz4:
      case RecordKind.raw: {
        const content = unpacked(header, kind, columns.sizes.u16("size"), wholeInput, window);
        window.push(content);
        return content.slice();
      }
      default:
        throw bad(header, `a record has unknown kind ${kind}`);
    }
  };
  const records = columns.pages.map((page, i) => {
    if (page >= region.pages) throw bad(header, `record ${i} is for page ${page} of ${region.pages}`);
    const kind = columns.kinds[i];
    return { kind: kind as RecordKind, page, content: contentOf(kind, page) };
  });
  const { references, sizes, masks, literals } = columns;
  const left = [references, sizes, masks, literals, wholeInput].some(({ remaining }) => remaining !== 0);
  if (left) throw bad(header, "data is left over");
  return records;
}

function referenceOf(header: FrameHeader, references: ByteReader, regions: readonly RegionExtent[]): number {
  if (regions[header.region].isDisk) throw bad(header, "a block of a disk is moved");
  const reference = references.u32("reference");
  const inRam = regions.some(
    ({ firstPage, pages, isDisk }) => !isDisk && reference >= firstPage && reference < firstPage + pages,
  );
  if (!inRam) throw bad(header, `a record refers to page ${reference}, beyond the base`);
  return reference;
}

/** Bit g of the top: group g has a mask. Bit w of that mask: word w of the group is the next literal. */
function changed(header: FrameHeader, base: Uint8Array, masks: ByteReader, literals: ByteReader): Uint8Array {
  const content = base.slice();
  const top = masks.take(groups / 8, "masks");
  if (top.every((byte) => byte === 0)) throw bad(header, "a record changes nothing");
  for (let group = 0; group < groups; group++) {
    if (!bitOf(top, group)) continue;
    const mask = masks.take(1, "masks");
    if (mask[0] === 0) throw bad(header, "a mask is zero");
    for (let word = 0; word < 8; word++) {
      if (bitOf(mask, word))
        content.set(literals.take(wordBytes, "literals"), (group * 8 + word) * wordBytes);
    }
  }
  return content;
}

/** The next whole page. An lz4 page may refer back to all whole pages before it in the frame. */
function unpacked(
  header: FrameHeader,
  kind: number,
  size: number,
  input: ByteReader,
  window: readonly Uint8Array[],
): Uint8Array {
  const isRaw = kind === RecordKind.raw;
  if (isRaw ? size !== pageBytes : size === 0 || size >= pageBytes) {
    throw bad(header, `a whole page has ${size} bytes`);
  }
  const stored = input.take(size, "whole page");
  return isRaw ? stored.slice() : naiveLz4Decode(stored, pageBytes, concatBytes(window));
}

function bitOf(bits: Uint8Array, i: number): boolean {
  return ((bits[i >> 3] >> (i & 7)) & 1) === 1;
}

function bad(header: FrameHeader, cause: string): FormatError {
  return new FormatError("bad-value", `Cannot apply frame ${header.sequence}: ${cause}`);
}
