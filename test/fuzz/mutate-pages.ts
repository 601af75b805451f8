/**
 * Mutation of the columns of a pages frame, whose layout is drawn in src/delta/page-encoder.ts: records come and go
 * together with their entries in the other columns, so that mutants get past the counts.
 */

import { concatBytes } from "../../src/bytes.ts";
import { RecordKind } from "../../src/delta/vocabulary.ts";
import { mutateBytes, writeInteresting } from "./mutate-bytes.ts";
import type { Random } from "./random.ts";

const countsBytes = 16;

/** Bytes of an entry of each column between the counts and the masks. */
const entryBytes = { kinds: 1, pages: 4, references: 4, sizes: 2 } as const;

interface Columns {
  kinds: Uint8Array;
  pages: Uint8Array;
  references: Uint8Array;
  sizes: Uint8Array;
  masks: Uint8Array;
  literals: Uint8Array;
}

/** Changed columns, and how many records they are for. */
export function mutatePagesColumns(
  plain: Uint8Array,
  records: number,
  random: Random,
): { columns: Uint8Array; records: number } {
  const columns = cut(plain, records);
  if (columns === null)
    return { columns: mutateBytes(plain, plain, random, { hotBytes: countsBytes }), records };
  for (let left = random.few(5); left > 0; left--) change(columns, random);
  const counts = new Uint8Array(countsBytes);
  const view = new DataView(counts.buffer);
  view.setUint32(0, columns.references.length / 4, true);
  view.setUint32(4, columns.sizes.length / 2, true);
  view.setUint32(8, columns.masks.length, true);
  view.setUint32(12, Math.floor(columns.literals.length / 8), true);
  if (random.oneIn(8)) writeInteresting(counts, 4 * random.below(4), 4, random, false);
  const { kinds, pages, references, sizes, masks, literals } = columns;
  return {
    columns: concatBytes([counts, kinds, pages, references, sizes, masks, literals]),
    records: kinds.length,
  };
}

function change(columns: Columns, random: Random): void {
  const record = random.below(columns.kinds.length);
  switch (random.below(8)) {
    case 0:
      if (columns.kinds.length > 0) columns.kinds[record] = random.below(8);
      break;
    case 1:
      removeRecord(columns, record);
      break;
    case 2:
    case 3:
      addRecord(columns, record, random);
      break;
    case 4:
      if (columns.pages.length > 0) writeInteresting(columns.pages, 4 * record, 4, random, false);
      break;
    case 5:
      if (columns.references.length > 0) {
        writeInteresting(
          columns.references,
          4 * random.below(columns.references.length / 4),
          4,
          random,
          false,
        );
      }
      break;
    case 6:
      if (columns.sizes.length > 0) {
        writeInteresting(columns.sizes, 2 * random.below(columns.sizes.length / 2), 2, random, false);
      }
      break;
    default:
      if (random.oneIn(2)) columns.masks = mutateBytes(columns.masks, columns.literals, random);
      else columns.literals = aligned(mutateBytes(columns.literals, columns.masks, random));
  }
}

function addRecord(columns: Columns, at: number, random: Random): void {
  const kind = 1 + random.below(6);
  columns.kinds = inserted(columns.kinds, at, Uint8Array.of(kind));
  const page = new Uint8Array(entryBytes.pages);
  page[0] = random.below(4);
  columns.pages = inserted(columns.pages, at * entryBytes.pages, page);
  if (kind === RecordKind.moved) {
    columns.references = concatBytes([
      columns.references,
      Uint8Array.of(random.below(256), random.below(2), 0, 0),
    ]);
  } else if (kind === RecordKind.lz4 || kind === RecordKind.raw) {
    const size = kind === RecordKind.raw ? 4096 : 1 + random.below(64);
    columns.sizes = concatBytes([columns.sizes, Uint8Array.of(size & 0xff, size >> 8)]);
  } else if (kind === RecordKind.delta) {
    // One word of one group: its top mask, its group mask, and its value.
    const masks = new Uint8Array(9);
    masks[random.below(8)] = 1 << random.below(8);
    masks[8] = 1 << random.below(8);
    columns.masks = concatBytes([masks, columns.masks]);
    columns.literals = concatBytes([random.bytes(8), columns.literals]);
  }
}

function removeRecord(columns: Columns, at: number): void {
  if (columns.kinds.length === 0) return;
  columns.kinds = removed(columns.kinds, at, 1);
  columns.pages = removed(columns.pages, at * entryBytes.pages, entryBytes.pages);
}

/** Null if the counts do not fit the columns. */
function cut(plain: Uint8Array, records: number): Columns | null {
  if (plain.length < countsBytes) return null;
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
  const count = (i: number) => view.getUint32(4 * i, true);
  const lengths = [records, 4 * records, 4 * count(0), 2 * count(1), count(2), 8 * count(3)];
  if (lengths.reduce((sum, length) => sum + length, countsBytes) !== plain.length) return null;
  let at = countsBytes;
  const [kinds, pages, references, sizes, masks, literals] = lengths.map((length) => {
    at += length;
    return plain.slice(at - length, at);
  });
  return { kinds, pages, references, sizes, masks, literals };
}

function inserted(bytes: Uint8Array, at: number, added: Uint8Array): Uint8Array {
  return concatBytes([bytes.subarray(0, at), added, bytes.subarray(at)]);
}

function removed(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return concatBytes([bytes.subarray(0, at), bytes.subarray(at + length)]);
}

function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.slice(0, bytes.length - (bytes.length % 8));
}
