/** The container of every frame: header, checksum, and columns stored or compressed. */

import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { decompressWith } from "../zstd/decompress.ts";
import { zstdBlocks } from "../zstd/frame-layout.ts";
import {
  FrameCodec,
  FrameKind,
  frameHeaderBytes,
  frameLimits,
  frameMagic,
  maxPagesPayloadBytes,
  pageBytes,
} from "./vocabulary.ts";

/** Fields of a frame's header. */
export interface FrameHeader {
  readonly kind: FrameKind;
  readonly codec: FrameCodec;
  /** Index of the region that records, or digests of a disk's blocks, belong to; 0 for other kinds. */
  readonly region: number;
  /** Position in the delta, from 1. */
  readonly sequence: number;
  readonly payloadBytes: number;
  /** Bytes of the columns as stored. */
  readonly columnsBytes: number;
  /** Bytes of the columns after decompression; with codec zstd those of the whole pages too. */
  readonly plainBytes: number;
  readonly records: number;
}

/** Reads and checks a header. Throws FormatError; never looks beyond the header. */
export function decodeFrameHeader(bytes: Uint8Array, at = 0): FrameHeader {
  if (bytes.length - at < frameHeaderBytes) {
    throw new FormatError(
      "truncated",
      `Cannot read frame header: ${frameHeaderBytes} bytes needed, ${bytes.length - at} left`,
      at,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, frameHeaderBytes);
  const magic = view.getUint32(0, true);
  if (magic !== frameMagic) {
    const version = (magic & 0xffffff) === (frameMagic & 0xffffff);
    throw new FormatError(
      version ? "bad-version" : "bad-magic",
      version
        ? `Cannot read frame: format version ${String.fromCharCode(magic >>> 24)} is not supported, only 1 is`
        : `Cannot read frame: it starts with 0x${magic.toString(16).padStart(8, "0")}, not "BFF1"`,
      at,
    );
  }
  const header = {
    kind: view.getUint8(4) as FrameKind,
    codec: view.getUint8(5) as FrameCodec,
    region: view.getUint16(6, true),
    sequence: view.getUint32(8, true),
    payloadBytes: view.getUint32(12, true),
    columnsBytes: view.getUint32(16, true),
    plainBytes: view.getUint32(20, true),
    records: view.getUint32(24, true),
  };
  checkHeader(header, view.getUint32(28, true), at);
  return header;
}

function checkHeader(header: FrameHeader, reserved: number, at: number): void {
  const fail = (what: string): never => {
    throw new FormatError("bad-value", `Cannot read frame ${header.sequence}: ${what}`, at);
  };
  const isPages = header.kind === FrameKind.pages;
  if (header.kind < FrameKind.header || header.kind > FrameKind.digests) fail(`unknown kind ${header.kind}`);
  if (header.codec < FrameCodec.stored || header.codec > FrameCodec.based)
    fail(`unknown codec ${header.codec}`);
  const isZstd = header.codec === FrameCodec.zstd;
  if (isZstd && !isPages) fail("only pages frames are compressed with zstd");
  if (header.codec === FrameCodec.based && header.kind !== FrameKind.device) {
    fail("only device frames are compressed against a base");
  }
  if (reserved !== 0) fail("a reserved field is not zero");
  if (header.sequence === 0) fail("sequence 0 is invalid");
  if (!isPages && header.records !== 0) fail("only pages frames have records");
  if (!isPages && header.kind !== FrameKind.digests && header.region !== 0) fail("it belongs to no region");
  if (header.records > frameLimits.records)
    fail(`${header.records} records exceed the limit of ${frameLimits.records}`);
  const plainLimit = isZstd
    ? maxPagesPayloadBytes
    : isPages
      ? frameLimits.columnsBytes
      : frameLimits.otherColumnsBytes;
  if (header.plainBytes > plainLimit) fail(`columns of ${header.plainBytes} bytes exceed ${plainLimit}`);
  if (header.columnsBytes > header.plainBytes) fail("columns are longer than their plain form");
  if (header.codec === FrameCodec.stored && header.columnsBytes !== header.plainBytes) {
    fail("stored columns have two lengths");
  }
  if (isZstd && header.payloadBytes !== header.columnsBytes) fail("bytes follow its zstd frame");
  const payloadLimit = isPages ? maxPagesPayloadBytes : header.columnsBytes;
  if (header.payloadBytes > payloadLimit || header.payloadBytes < header.columnsBytes) {
    fail(`a payload of ${header.payloadBytes} bytes does not fit`);
  }
  if (header.payloadBytes - header.columnsBytes > frameLimits.wholePages * pageBytes) {
    fail(`whole pages of ${header.payloadBytes - header.columnsBytes} bytes exceed the limit`);
  }
}

/** Checks length and checksum of a complete frame and returns its header. Throws FormatError. */
export function checkFrame(core: Core, frame: Uint8Array): FrameHeader {
  const header = decodeFrameHeader(frame);
  if (frame.length !== frameHeaderBytes + header.payloadBytes) {
    throw new FormatError(
      frame.length < frameHeaderBytes + header.payloadBytes ? "truncated" : "bad-length",
      `Cannot read frame ${header.sequence}: ${frameHeaderBytes + header.payloadBytes} bytes expected, got ${frame.length}`,
    );
  }
  const expected = frameChecksum(core, frame);
  for (let i = 0; i < 16; i++) {
    if (frame[32 + i] !== expected[i]) {
      throw new FormatError(
        "bad-checksum",
        `Cannot accept frame ${header.sequence}: its checksum does not match`,
      );
    }
  }
  return header;
}

/** The header's fields but the ones that `sealFrame` fills in. With sequence 0 it is for `numberFrame` to complete. */
export type FrameStart = Pick<FrameHeader, "kind" | "region" | "sequence" | "records">;

/** Compresses the payload of a pages frame with zstd: gives one zstd frame with the length of its content. */
export type PayloadCompressor = (plain: Uint8Array) => Uint8Array;

/**
 * Makes a frame of plain columns and, for pages, the whole pages after them.
 * Columns are compressed with LZ4 when that makes them smaller. Returns a new array.
 */
export function sealFrame(
  core: Core,
  start: FrameStart,
  columns: Uint8Array,
  whole?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const compressed = columns.length > 64 ? core.lz4Compress(columns) : null;
  const codec = compressed ? FrameCodec.lz4 : FrameCodec.stored;
  return writeFrame(core, start, codec, columns.length, compressed ?? columns, whole);
}

/**
 * Makes a pages frame whose columns and raw whole pages are one zstd frame; null if that is no smaller than they are.
 * Throws FormatError if the compressor gives a zstd frame that readers would refuse.
 */
export function sealZstdFrame(
  core: Core,
  start: FrameStart,
  plain: Uint8Array,
  compress: PayloadCompressor,
): Uint8Array<ArrayBuffer> | null {
  const stored = compress(plain);
  if (stored.length >= plain.length) return null;
  zstdBlocks(stored, plain.length);
  return writeFrame(core, start, FrameCodec.zstd, plain.length, stored);
}

/** Makes a frame of columns that are stored as `codec` says. Returns a new array. */
export function writeFrame(
  core: Core,
  start: FrameStart,
  codec: FrameCodec,
  plainBytes: number,
  stored: Uint8Array,
  whole?: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const wholeBytes = whole?.length ?? 0;
  const payloadBytes = stored.length + wholeBytes;
  const frame = new Uint8Array(frameHeaderBytes + payloadBytes);
  const view = new DataView(frame.buffer);
  view.setUint32(0, frameMagic, true);
  view.setUint8(4, start.kind);
  view.setUint8(5, codec);
  view.setUint16(6, start.region, true);
  view.setUint32(8, start.sequence, true);
  view.setUint32(12, payloadBytes, true);
  view.setUint32(16, stored.length, true);
  view.setUint32(20, plainBytes, true);
  view.setUint32(24, start.records, true);
  frame.set(stored, frameHeaderBytes);
  if (whole) frame.set(whole, frameHeaderBytes + stored.length);
  if (start.sequence !== 0) frame.set(frameChecksum(core, frame), 32);
  return frame;
}

/** Gives a frame that was made with sequence 0 its number, and with that its checksum. */
export function numberFrame(core: Core, frame: Uint8Array, sequence: number): void {
  new DataView(frame.buffer, frame.byteOffset).setUint32(8, sequence, true);
  frame.set(frameChecksum(core, frame), 32);
}

/**
 * The columns of a checked frame in plain form, with codec zstd the whole pages after them. Throws FormatError if they
 * do not decompress to their length, or only with the base's device state.
 */
export function plainColumns(core: Core, frame: Uint8Array, header: FrameHeader): Uint8Array {
  const stored = frame.subarray(frameHeaderBytes, frameHeaderBytes + header.columnsBytes);
  switch (header.codec) {
    case FrameCodec.stored:
      return stored;
    case FrameCodec.lz4:
      return core.lz4Decompress(stored, header.plainBytes);
    case FrameCodec.zstd:
      return decompressWith(core.zstd, stored, header.plainBytes);
    default:
      throw new FormatError(
        "unsupported",
        `Cannot read frame ${header.sequence}: it needs the device state of a base, which no store's frames do`,
      );
  }
}

/** Position and header of each frame in a run of frames. Throws FormatError where one does not follow. */
export function* framesOf(
  bytes: Uint8Array,
): Generator<{ at: number; header: FrameHeader; frame: Uint8Array }> {
  let at = 0;
  while (at < bytes.length) {
    const header = decodeFrameHeader(bytes, at);
    const end = at + frameHeaderBytes + header.payloadBytes;
    if (end > bytes.length) {
      throw new FormatError("truncated", `Cannot read frame ${header.sequence}: it ends beyond the data`, at);
    }
    yield { at, header, frame: bytes.subarray(at, end) };
    at = end;
  }
}

function frameChecksum(core: Core, frame: Uint8Array): Uint8Array {
  const hasher = core.createHasher();
  try {
    hasher.update(frame.subarray(0, 32)).update(new Uint8Array(16)).update(frame.subarray(frameHeaderBytes));
    return hasher.digest(16);
  } finally {
    hasher.release();
  }
}
