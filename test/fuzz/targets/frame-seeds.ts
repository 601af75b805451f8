/** Frames made by our own encoders: what a delta of RAM and a disk consists of. */

import { wasmZstd } from "../../../cli/zstd.ts";
import { concatBytes } from "../../../src/bytes.ts";
import type { Core } from "../../../src/core.ts";
import { encodeDeviceFrames } from "../../../src/delta/device-frames.ts";
import { encodeDigestFrames } from "../../../src/delta/digest-frames.ts";
import { encodeDeltaHeader, encodeDeltaTrailer } from "../../../src/delta/header-frame.ts";
import type { RegionExtent } from "../../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../../src/delta/page-encoder.ts";
import { noRecords, pageBytes } from "../../../src/delta/vocabulary.ts";
import { noise } from "../../core/placing.ts";

/** Two regions of RAM and a disk. */
export const extents: readonly RegionExtent[] = [
  { firstPage: 0, pages: 600 },
  { firstPage: 600, pages: 40 },
  { firstPage: 640, pages: 5000, isDisk: true },
];
export const ramPages = 640;

/** Content of a page of the base: zero, text or noise, by its number. */
export function basePage(page: number): Uint8Array {
  if (page % 3 === 0) return new Uint8Array(pageBytes);
  return page % 3 === 1 ? noise(pageBytes, page + 1, 3) : noise(pageBytes, page + 1);
}

const zstd = await wasmZstd();

/** A frame for each kind of record, one with several, and one for the disk; with `inZstd` compressed with zstd. */
export function pageFrames(core: Core, firstSequence = 1, inZstd = false): Uint8Array[] {
  const encoder = new PageEncoder(core, () => (inZstd ? (plain) => zstd.compress(plain, 3) : null));
  const [content, base] = [core.allocate(pageBytes), core.allocate(pageBytes)];
  const add = (page: number, bytes: Uint8Array, under: Uint8Array | null) => {
    core.bytes().set(bytes, content);
    if (under !== null) core.bytes().set(under, base);
    encoder.content(page, content, under === null ? 0 : base);
  };
  const changedPage = (page: number, words: number) => {
    const bytes = basePage(page);
    for (let i = 0; i < words; i++) bytes[((i * 37) % 512) * 8] ^= 0xa5;
    return bytes;
  };
  const fillers: (() => void)[] = [
    () => encoder.same(5),
    () => encoder.zero(0),
    () => encoder.moved(9, 620),
    () => add(7, changedPage(7, 3), basePage(7)),
    () => add(11, noise(pageBytes, 77, 2), null),
    () => {
      for (let page = 0; page < 30; page++) {
        if (page % 5 === 0) encoder.same(page);
        else if (page % 5 === 1) encoder.zero(page);
        else if (page % 5 === 2) encoder.moved(page, page * 2);
        else if (page % 5 === 3) add(page, changedPage(page, page), basePage(page));
        else add(page, noise(pageBytes, page, 1 + (page % 3)), null);
      }
    },
  ];
  const frames: Uint8Array[] = [];
  const seal = (region: number) =>
    frames.push(encoder.seal(region, firstSequence + frames.length) as Uint8Array);
  for (const fill of fillers) {
    fill();
    seal(0);
  }
  encoder.zero(4999);
  add(17, changedPage(640 + 17, 9), basePage(640 + 17));
  add(1, noise(pageBytes, 5, 2), null);
  seal(2);
  add(3, noise(pageBytes, 6), null);
  seal(1);
  for (const pointer of [content, base]) core.release(pointer);
  encoder.release();
  return frames;
}

/** A whole delta file: header, some pages, trailer. */
export function delta(core: Core): Uint8Array {
  const pages = pageFrames(core, 2).slice(0, 4);
  const dirty = new Uint8Array(ramPages / 8);
  for (const page of [5, 0, 9, 7]) dirty[page >> 3] |= 1 << (page & 7);
  const header = {
    vm: "web1",
    generation: 4,
    base: { generation: 3, root: "0a".repeat(32) },
    totalPages: ramPages,
  };
  const records = { ...noRecords(), same: 1, zero: 1, moved: 1, delta: 1 };
  const trailer = { frames: pages.length + 2, records, dirty };
  return concatBytes([
    encodeDeltaHeader(core, header, 1),
    ...pages,
    encodeDeltaTrailer(core, trailer, pages.length + 2),
  ]);
}

/** The device state of the base. */
export const baseDevice = noise(40_000, 9, 5);

/** Device state, in one frame and in several, by itself and against the base's. */
export function deviceRuns(core: Core): Uint8Array[] {
  const short = encodeDeviceFrames(core, noise(600, 1, 4), 1);
  const [first, second] = encodeDeviceFrames(core, new Uint8Array((1 << 18) + 9), 1);
  const changed = concatBytes([noise(50, 3), baseDevice.subarray(0, 30_000), noise(90, 4)]);
  const based = encodeDeviceFrames(core, changed, 1, baseDevice);
  return [concatBytes(short), concatBytes([first, second]), concatBytes(based)];
}

/** Digests that differ in none, some and all places, over `pages` pages. */
export function digestRuns(core: Core, pages: number): Uint8Array[] {
  const known = new Uint8Array(pages * 16);
  const some = known.slice();
  for (const page of [0, 1, 63, pages - 1]) some.set(noise(16, page + 1), page * 16);
  const few = noise(16 * 40, 2);
  return [
    concatBytes(encodeDigestFrames(core, known, some)),
    concatBytes(encodeDigestFrames(core, new Uint8Array(16 * 40), few)),
  ];
}
