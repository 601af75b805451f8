/** Explains a file of frames: a delta, device state, or digests on their way. */

import type { Core } from "../../src/core.ts";
import { checkFrame, plainColumns } from "../../src/delta/frame.ts";
import {
  type DeltaHeader,
  type DeltaTrailer,
  decodeDeltaHeader,
  decodeDeltaTrailer,
} from "../../src/delta/header-frame.ts";
import {
  FrameCodec,
  FrameKind,
  noRecords,
  type RecordCounts,
  recordKindNames,
} from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { framesOfFile, type OpenFile } from "../verify/file-window.ts";
import { DirtyPicture, drawBitmap } from "./dirty-picture.ts";
import { type FrameRecords, readRecords } from "./record-bytes.ts";

/** One frame. Sizes in bytes. */
export interface FrameLine {
  readonly at: number;
  readonly sequence: number;
  readonly kind: string;
  readonly codec: string;
  readonly region: number;
  /** What the manifest beside the file calls the region; disks are "disk 0", "disk 1", … Null without a manifest. */
  readonly regionName: string | null;
  readonly frameBytes: number;
  readonly columnsBytes: number;
  readonly plainBytes: number;
  /** Bytes of whole pages after the columns. */
  readonly wholeBytes: number;
  readonly records: RecordCounts;
}

/** All frames of one kind. */
export interface FrameKindLine {
  readonly kind: string;
  readonly frames: number;
  readonly bytes: number;
  readonly smallest: number;
  readonly largest: number;
}

/** Where the records of a region, or of a disk, lie. */
export interface PartLine {
  readonly kind: "region" | "disk";
  readonly name: string;
  /** Pages or blocks that there are. */
  readonly total: number;
  /** Pages of a region that the trailer says have a record; records of a disk. */
  readonly marked: number;
  readonly picture: readonly string[];
}

/** The file as a whole. */
export interface FramesSummary {
  readonly kind: "frames";
  readonly bytes: number;
  readonly frames: number;
  readonly frameKinds: readonly FrameKindLine[];
  readonly records: RecordCounts;
  /** What the records of each kind take, before columns are compressed. */
  readonly recordBytes: RecordCounts;
  readonly deviceBytes: number;
  readonly header: DeltaHeader | null;
  readonly trailer: Omit<DeltaTrailer, "dirty"> | null;
  /** Pages of RAM that the trailer says have a record; null without a trailer. */
  readonly dirtyPages: number | null;
  /** The page space as a whole. */
  readonly picture: readonly string[];
  /** Each region and disk; empty without a manifest beside the file that fits it, or without a trailer. */
  readonly parts: readonly PartLine[];
  /** Records of each disk; empty without a manifest beside the file. */
  readonly disks: readonly { readonly name: string; readonly records: RecordCounts }[];
}

/**
 * Reads the frames one by one, each checked. `manifest` is that of the generation, if it is there. Throws FormatError at
 * the first frame that is damaged.
 */
export function inspectFrames(
  core: Core,
  file: OpenFile,
  manifest: Manifest | null,
  onFrame: (line: FrameLine) => void,
): FramesSummary {
  const ramRegions = manifest?.regions.length ?? 0;
  const disks = (manifest?.disks ?? []).map(({ name, lengthBytes }) => {
    return { name, records: noRecords(), picture: new DirtyPicture(blocksOf(lengthBytes)) };
  });
  const records = noRecords();
  const recordBytes = noRecords();
  const kinds = new Map<string, Mutable<FrameKindLine>>();
  let [frames, deviceBytes] = [0, 0];
  let header: DeltaHeader | null = null;
  let trailer: DeltaTrailer | null = null;
  for (const { at, frame } of framesOfFile(file)) {
    const { line, held } = withPosition(at, () => describeFrame(core, at, frame, manifest));
    frames++;
    countFrame(kinds, line);
    const disk = manifest && line.kind === "pages" ? disks[line.region - ramRegions] : undefined;
    for (const name of recordKindNames) {
      records[name] += line.records[name];
      recordBytes[name] += held?.bytes[name] ?? 0;
      if (disk) disk.records[name] += line.records[name];
    }
    if (disk && held) for (const block of held.pages) disk.picture.add(block, 1);
    if (line.kind === "header") header = decodeDeltaHeader(core, frame);
    if (line.kind === "trailer") trailer = decodeDeltaTrailer(core, frame);
    if (line.kind === "device") deviceBytes += line.plainBytes;
    onFrame(line);
  }
  const totalPages = header?.totalPages ?? 0;
  const fits = trailer !== null && trailer.dirty.length === Math.ceil(totalPages / 8);
  const parts = trailer && fits && manifest ? regionParts(manifest, totalPages, trailer.dirty) : [];
  for (const { name, picture } of parts.length > 0 ? disks : []) {
    parts.push({ kind: "disk", name, total: picture.pages, marked: picture.count, picture: picture.draw() });
  }
  return {
    kind: "frames",
    bytes: file.size,
    frames,
    frameKinds: [...kinds.values()],
    records,
    recordBytes,
    deviceBytes,
    header,
    trailer: trailer && { frames: trailer.frames, records: trailer.records },
    dirtyPages: trailer ? onesOf(trailer.dirty, 0, trailer.dirty.length * 8) : null,
    picture: trailer && fits ? drawBitmap(trailer.dirty, totalPages) : [],
    parts,
    disks: disks.map(({ name, records: ofDisk }) => ({ name, records: ofDisk })),
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function countFrame(kinds: Map<string, Mutable<FrameKindLine>>, { kind, frameBytes }: FrameLine): void {
  const known = kinds.get(kind);
  if (known === undefined) {
    kinds.set(kind, { kind, frames: 1, bytes: frameBytes, smallest: frameBytes, largest: frameBytes });
    return;
  }
  known.frames++;
  known.bytes += frameBytes;
  known.smallest = Math.min(known.smallest, frameBytes);
  known.largest = Math.max(known.largest, frameBytes);
}

/** The dirty bitmap by regions; none if the manifest is of another page space. */
function regionParts(manifest: Manifest, totalPages: number, dirty: Uint8Array): PartLine[] {
  const geometry = placeRegions(manifest.regions);
  if (geometry.totalPages !== totalPages) return [];
  return geometry.regions.map(({ name, firstPage, pages }) => ({
    kind: "region",
    name,
    total: pages,
    marked: onesOf(dirty, firstPage, firstPage + pages),
    picture: drawBitmap(dirty, pages, firstPage),
  }));
}

function describeFrame(
  core: Core,
  at: number,
  frame: Uint8Array,
  manifest: Manifest | null,
): { line: FrameLine; held: FrameRecords | null } {
  const header = checkFrame(core, frame);
  const held =
    header.kind === FrameKind.pages ? readRecords(plainColumns(core, frame, header), header.records) : null;
  const line: FrameLine = {
    at,
    sequence: header.sequence,
    kind: nameOf(FrameKind, header.kind),
    codec: nameOf(FrameCodec, header.codec),
    region: header.region,
    regionName: manifest && header.kind === FrameKind.pages ? nameOfRegion(manifest, header.region) : null,
    frameBytes: frame.length,
    columnsBytes: header.columnsBytes,
    plainBytes: header.plainBytes,
    wholeBytes: header.payloadBytes - header.columnsBytes,
    records: held?.counts ?? noRecords(),
  };
  return { line, held };
}

function nameOfRegion({ regions, disks }: Manifest, region: number): string | null {
  if (region < regions.length) return regions[region].name;
  const disk = region - regions.length;
  return disk < disks.length ? `disk ${disk}` : null;
}

function withPosition<T>(at: number, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof FormatError) || error.offset !== undefined) throw error;
    throw new FormatError(error.code, error.message, at);
  }
}

function nameOf(names: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}

/** Set bits from bit `from` up to bit `to`. */
function onesOf(bitmap: Uint8Array, from: number, to: number): number {
  let ones = 0;
  for (let bit = from; bit < to; bit++) ones += (bitmap[bit >> 3] >> (bit & 7)) & 1;
  return ones;
}
