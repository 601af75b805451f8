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
import type { Manifest } from "../../src/generation/manifest.ts";
import { framesOfFile, type OpenFile } from "../verify/file-window.ts";
import { drawBitmap } from "./dirty-picture.ts";

/** Bytes that columns of a pages frame have before the kinds of its records. */
const countsBytes = 16;

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

/** The file as a whole. */
export interface FramesSummary {
  readonly kind: "frames";
  readonly bytes: number;
  readonly frames: number;
  readonly records: RecordCounts;
  readonly deviceBytes: number;
  readonly header: DeltaHeader | null;
  readonly trailer: Omit<DeltaTrailer, "dirty"> | null;
  /** Pages of RAM that the trailer says have a record; null without a trailer. */
  readonly dirtyPages: number | null;
  readonly picture: readonly string[];
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
  const disks = (manifest?.disks ?? []).map(({ name }) => ({ name, records: noRecords() }));
  const records = noRecords();
  let [frames, deviceBytes] = [0, 0];
  let header: DeltaHeader | null = null;
  let trailer: DeltaTrailer | null = null;
  for (const { at, frame } of framesOfFile(file)) {
    const line = withPosition(at, () => describeFrame(core, at, frame, manifest));
    frames++;
    const disk = manifest && line.kind === "pages" ? disks[line.region - ramRegions] : undefined;
    for (const name of recordKindNames) {
      records[name] += line.records[name];
      if (disk) disk.records[name] += line.records[name];
    }
    if (line.kind === "header") header = decodeDeltaHeader(core, frame);
    if (line.kind === "trailer") trailer = decodeDeltaTrailer(core, frame);
    if (line.kind === "device") deviceBytes += line.plainBytes;
    onFrame(line);
  }
  const totalPages = header?.totalPages ?? 0;
  const fits = trailer !== null && trailer.dirty.length === Math.ceil(totalPages / 8);
  return {
    kind: "frames",
    bytes: file.size,
    frames,
    records,
    deviceBytes,
    header,
    trailer: trailer && { frames: trailer.frames, records: trailer.records },
    dirtyPages: trailer ? trailer.dirty.reduce((sum, bits) => sum + onesIn(bits), 0) : null,
    picture: trailer && fits ? drawBitmap(trailer.dirty, totalPages) : [],
    disks,
  };
}

function describeFrame(core: Core, at: number, frame: Uint8Array, manifest: Manifest | null): FrameLine {
  const header = checkFrame(core, frame);
  const records = noRecords();
  if (header.kind === FrameKind.pages) {
    const kinds = plainColumns(core, frame, header).subarray(countsBytes, countsBytes + header.records);
    for (const kind of kinds) {
      const name = recordKindNames[kind - 1];
      if (name === undefined) throw new FormatError("bad-value", `Cannot read record: unknown kind ${kind}`);
      records[name]++;
    }
  }
  return {
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
    records,
  };
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

function onesIn(byte: number): number {
  let ones = 0;
  for (let bits = byte; bits !== 0; bits >>= 1) ones += bits & 1;
  return ones;
}
