/** What the records of a pages frame take, by their kind, before its columns are compressed. */

import { noRecords, type RecordCounts, RecordKind, recordKindNames } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";

/** Bytes of a record's kind and page number. */
const recordBytes = 5;
const referenceBytes = 4;
const sizeBytes = 2;

/** The records of one frame. */
export interface FrameRecords {
  readonly counts: RecordCounts;
  /** Bytes in columns, before compression, and of whole pages, as stored. */
  readonly bytes: RecordCounts;
  /** Page of the region, or block of the disk, of each record. */
  readonly pages: Uint32Array;
}

/**
 * Reads the columns of a pages frame with `records` records; the layout is drawn in `src/delta/page-encoder.ts`.
 * Throws FormatError if they do not fit together.
 */
export function readRecords(columns: Uint8Array, records: number): FrameRecords {
  const view = new DataView(columns.buffer, columns.byteOffset, columns.length);
  const head = 16;
  if (columns.length < head) fail("they are too short");
  const [moved, whole, maskBytes, literals] = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
  const expected =
    head + records * recordBytes + moved * referenceBytes + whole * sizeBytes + maskBytes + literals * 8;
  if (columns.length !== expected) fail(`they have ${columns.length} bytes, ${expected} expected`);
  const counts = noRecords();
  const bytes = noRecords();
  let sizeAt = head + records * recordBytes + moved * referenceBytes;
  const sizesEnd = sizeAt + whole * sizeBytes;
  for (const kind of columns.subarray(head, head + records)) {
    const name = recordKindNames[kind - 1];
    if (name === undefined) fail(`unknown kind ${kind}`);
    counts[name]++;
    bytes[name] += recordBytes;
    if (kind === RecordKind.moved) bytes[name] += referenceBytes;
    if (kind === RecordKind.lz4 || kind === RecordKind.raw) {
      if (sizeAt === sizesEnd) fail("they have too few sizes");
      bytes[name] += sizeBytes + view.getUint16(sizeAt, true);
      sizeAt += sizeBytes;
    }
  }
  bytes.delta += maskBytes + literals * 8;
  const pages = new Uint32Array(records);
  let page = -1;
  for (let i = 0; i < records; i++) {
    page = (page + 1 + view.getUint32(head + records + i * 4, true)) >>> 0;
    pages[i] = page;
  }
  return { counts, bytes, pages };
}

function fail(why: string): never {
  throw new FormatError("bad-value", `Cannot read the records of a frame: ${why}`);
}
