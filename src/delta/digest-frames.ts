/**
 * Digests of a generation as frames: only those that differ from a generation that the other side has.
 *
 * Columns of a digests frame (little-endian):
 *
 *     u32 first page, u32 pages          the range that the frame speaks of, at most 65536 pages
 *     bitmap, (pages + 7) / 8 bytes      bit i: page `first + i` differs
 *     16 bytes for each set bit          its digest
 */

import { ByteReader } from "../bytes.ts";
import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { checkFrame, plainColumns, sealFrame } from "./frame.ts";
import { FrameKind } from "./vocabulary.ts";

const rangePages = 65536;
const digestBytes = 16;

/** Frames, numbered from 1, that turn `known` into `digests`. Both have 16 bytes a page and the same length. */
export function encodeDigestFrames(
  core: Core,
  known: Uint8Array,
  digests: Uint8Array,
): Uint8Array<ArrayBuffer>[] {
  if (known.length !== digests.length) throw new RangeError("Cannot encode digests: the lengths differ");
  const totalPages = digests.length / digestBytes;
  const frames: Uint8Array<ArrayBuffer>[] = [];
  for (let first = 0; first < totalPages; first += rangePages) {
    const pages = Math.min(rangePages, totalPages - first);
    const bitmapBytes = Math.ceil(pages / 8);
    const columns = new Uint8Array(8 + bitmapBytes + pages * digestBytes);
    const view = new DataView(columns.buffer);
    view.setUint32(0, first, true);
    view.setUint32(4, pages, true);
    let end = 8 + bitmapBytes;
    for (let i = 0; i < pages; i++) {
      const at = (first + i) * digestBytes;
      if (sameDigest(known, digests, at)) continue;
      columns[8 + (i >> 3)] |= 1 << (i & 7);
      columns.set(digests.subarray(at, at + digestBytes), end);
      end += digestBytes;
    }
    const start = { kind: FrameKind.digests, region: 0, sequence: frames.length + 1, records: 0 };
    frames.push(sealFrame(core, start, columns.subarray(0, end)));
  }
  return frames;
}

/**
 * Frames that turn a disk's known digests into others: only ranges in which blocks differ. `region` is the disk's
 * index among the regions of frames, `differing` are runs of blocks in ascending order, and `digestOf` writes a
 * block's new digest. Frames are numbered from `firstSequence`.
 */
export function* encodeBlockDigestFrames(
  core: Core,
  region: number,
  firstSequence: number,
  blocks: number,
  differing: Iterable<{ readonly block: number; readonly count: number }>,
  digestOf: (block: number, target: Uint8Array, at: number) => void,
): Generator<Uint8Array<ArrayBuffer>> {
  let sequence = firstSequence;
  let first = -1;
  let columns = new Uint8Array(0);
  let end = 0;
  const seal = () => {
    const start = { kind: FrameKind.digests, region, sequence: sequence++, records: 0 };
    return sealFrame(core, start, columns.subarray(0, end));
  };
  for (const run of differing) {
    for (let block = run.block; block < run.block + run.count; block++) {
      if (first < 0 || block >= first + rangePages) {
        if (first >= 0) yield seal();
        first = block - (block % rangePages);
        const pages = Math.min(rangePages, blocks - first);
        end = 8 + Math.ceil(pages / 8);
        columns = new Uint8Array(end + pages * digestBytes);
        const view = new DataView(columns.buffer);
        view.setUint32(0, first, true);
        view.setUint32(4, pages, true);
      }
      const i = block - first;
      columns[8 + (i >> 3)] |= 1 << (i & 7);
      digestOf(block, columns, end);
      end += digestBytes;
    }
  }
  if (first >= 0) yield seal();
}

/** Applies one digests frame to `digests` of RAM. Throws FormatError. */
export function applyDigestFrame(core: Core, frame: Uint8Array, digests: Uint8Array): void {
  const pages = Math.floor(digests.length / digestBytes);
  readDigestFrame(core, frame, pages, (page, digest) => digests.set(digest, page * digestBytes));
}

/** Reads one digests frame over `totalPages` pages or blocks, and gives each digest to `set`. Throws FormatError. */
export function readDigestFrame(
  core: Core,
  frame: Uint8Array,
  totalPages: number,
  set: (page: number, digest: Uint8Array) => void,
): void {
  const header = checkFrame(core, frame);
  const fail = (what: string): never => {
    throw new FormatError("bad-value", `Cannot use frame ${header.sequence} of digests: ${what}`);
  };
  if (header.kind !== FrameKind.digests) fail("it is of another kind");
  const columns = new ByteReader(plainColumns(core, frame, header));
  const first = columns.u32("first page");
  const pages = columns.u32("number of pages");
  if (pages === 0 || pages > rangePages || first + pages > totalPages) {
    fail(`its range ${first} + ${pages} does not fit`);
  }
  const bitmap = columns.take(Math.ceil(pages / 8), "bitmap");
  for (let i = 0; i < pages; i++) {
    if (bitmap[i >> 3] & (1 << (i & 7))) set(first + i, columns.take(digestBytes, "digest"));
  }
  if (columns.remaining !== 0) fail("bytes are left over");
}

function sameDigest(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let i = at; i < at + digestBytes; i++) if (a[i] !== b[i]) return false;
  return true;
}
