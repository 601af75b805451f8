/** The first and the last frame of a delta file: which generations it joins, and what it holds in sum. */

import type { Core } from "../core.ts";
import { FormatError } from "../errors.ts";
import { checkFrame, plainColumns, sealFrame } from "./frame.ts";
import type { RecordCounts } from "./vocabulary.ts";
import { FrameKind, recordKindNames } from "./vocabulary.ts";

/** The header frame's content: JSON in its columns. */
export interface DeltaHeader {
  readonly vm: string;
  readonly generation: number;
  /** The generation that the delta stands on. */
  readonly base: { readonly generation: number; readonly root: string };
  /** Length of the page space: all regions together. */
  readonly totalPages: number;
}

/** The trailer frame's content: counts as JSON, then the dirty bitmap over the page space. */
export interface DeltaTrailer {
  readonly frames: number;
  readonly records: RecordCounts;
  /** Bit i (least significant first) is set if page i has a record. */
  readonly dirty: Uint8Array;
}

/** Frame number 1 of a delta file. */
export function encodeDeltaHeader(core: Core, header: DeltaHeader, sequence: number): Uint8Array {
  const { vm, generation, base, totalPages } = header;
  const text = JSON.stringify({
    vm,
    generation,
    base: { generation: base.generation, root: base.root },
    totalPages,
  });
  return sealFrame(core, start(FrameKind.header, sequence), new TextEncoder().encode(text));
}

/** Reads a header frame. Throws FormatError. */
export function decodeDeltaHeader(core: Core, frame: Uint8Array): DeltaHeader {
  const header = checkFrame(core, frame);
  if (header.kind !== FrameKind.header) {
    throw new FormatError("bad-value", `Cannot read delta: frame ${header.sequence} is not its header`);
  }
  const value = parseJson(plainColumns(core, frame, header)) as DeltaHeader;
  const valid =
    typeof value?.vm === "string" &&
    Number.isSafeInteger(value.generation) &&
    Number.isSafeInteger(value.totalPages) &&
    Number.isSafeInteger(value.base?.generation) &&
    typeof value.base.root === "string";
  if (!valid) throw new FormatError("bad-value", "Cannot read delta: its header lacks a field");
  return value;
}

/** The last frame of a delta file. */
export function encodeDeltaTrailer(core: Core, trailer: DeltaTrailer, sequence: number): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify({ frames: trailer.frames, records: trailer.records }));
  const columns = new Uint8Array(4 + text.length + trailer.dirty.length);
  new DataView(columns.buffer).setUint32(0, text.length, true);
  columns.set(text, 4);
  columns.set(trailer.dirty, 4 + text.length);
  return sealFrame(core, start(FrameKind.trailer, sequence), columns);
}

/** Reads a trailer frame. Throws FormatError. */
export function decodeDeltaTrailer(core: Core, frame: Uint8Array): DeltaTrailer {
  const header = checkFrame(core, frame);
  const columns = plainColumns(core, frame, header);
  const length =
    columns.length < 4 ? -1 : new DataView(columns.buffer, columns.byteOffset).getUint32(0, true);
  if (header.kind !== FrameKind.trailer || length < 0 || length > columns.length - 4) {
    throw new FormatError("bad-value", `Cannot read delta: frame ${header.sequence} is not its trailer`);
  }
  const value = parseJson(columns.subarray(4, 4 + length)) as DeltaTrailer;
  const valid =
    Number.isSafeInteger(value?.frames) &&
    recordKindNames.every((name) => Number.isSafeInteger(value.records?.[name]));
  if (!valid) throw new FormatError("bad-value", "Cannot read delta: its trailer lacks a field");
  return { frames: value.frames, records: value.records, dirty: columns.slice(4 + length) };
}

function start(kind: FrameKind, sequence: number) {
  return { kind, region: 0, sequence, records: 0 };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new FormatError("bad-value", "Cannot read delta: its header or trailer is not JSON");
  }
}
