/**
 * Mutation of runs of frames that knows their container: columns are unpacked, changed and packed again, and
 * checksums are made right. Without that no mutant would get past the checksum.
 */

import { wasmZstd } from "../../cli/zstd.ts";
import { concatBytes } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { FrameCodec, FrameKind, frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import { decompressZstd } from "../../src/zstd/decompress.ts";
import { mutateBytes, writeInteresting } from "./mutate-bytes.ts";
import { mutatePagesColumns } from "./mutate-pages.ts";
import { mutateJson } from "./mutate-text.ts";
import type { Random } from "./random.ts";
import { utf8 } from "./target.ts";

const zstd = await wasmZstd();
/** Positions of the fields in a header. */
const field = {
  kind: 4,
  codec: 5,
  region: 6,
  sequence: 8,
  payload: 12,
  columns: 16,
  plain: 20,
  records: 24,
  checksum: 32,
};

/** A frame in its parts; the header need not be consistent with them. */
interface Parts {
  readonly header: Uint8Array;
  columns: Uint8Array;
  whole: Uint8Array;
}

/** A mutant of a run of frames. One in ten keeps a wrong checksum. */
export function mutateFrames(core: Core, input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const { frames, rest } = split(input);
  if (frames.length === 0 || random.oneIn(20)) return mutateBytes(input, other, random);
  let tail = rest;
  for (let left = random.few(4); left > 0 && frames.length > 0; left--) {
    const at = random.below(frames.length);
    switch (random.below(12)) {
      case 0:
        frames.splice(at, 1);
        renumber(frames, random);
        break;
      case 1: {
        const again = frames[at];
        frames.splice(random.below(frames.length + 1), 0, { ...again, header: again.header.slice() });
        renumber(frames, random);
        break;
      }
      case 2: {
        const others = split(other).frames;
        if (others.length > 0) frames.splice(at, random.below(2), random.pick(others));
        renumber(frames, random);
        break;
      }
      case 3:
        mutateHeader(frames[at].header, random);
        break;
      case 4:
        // The packed form itself: a damaged LZ4 block under a right checksum.
        frames[at].columns = mutateBytes(frames[at].columns, other, random);
        settle(frames[at]);
        break;
      case 5:
        frames[at].whole = mutateBytes(frames[at].whole, other, random);
        settle(frames[at]);
        break;
      case 6:
        tail = mutateBytes(tail, other, random).slice(0, 64);
        break;
      default:
        mutateColumns(core, frames[at], random);
    }
  }
  const isHonest = !random.oneIn(10);
  const sealed = frames.map(({ header, columns, whole }) => {
    const frame = concatBytes([header, columns, whole]);
    return isHonest ? withChecksum(core, frame) : frame;
  });
  return concatBytes([...sealed, tail]);
}

/** The frame with the checksum that its bytes have. */
function withChecksum(core: Core, frame: Uint8Array): Uint8Array {
  const sealed = frame.slice();
  sealed.fill(0, field.checksum, frameHeaderBytes);
  sealed.set(core.blake3(sealed, undefined, 16), field.checksum);
  return sealed;
}

/** Cuts a run at what the headers say, as far as that is possible. */
function split(bytes: Uint8Array): { frames: Parts[]; rest: Uint8Array } {
  const frames: Parts[] = [];
  let at = 0;
  while (bytes.length - at >= frameHeaderBytes && frames.length < 64) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, frameHeaderBytes);
    const payload = view.getUint32(field.payload, true);
    const columns = Math.min(view.getUint32(field.columns, true), payload);
    const start = at + frameHeaderBytes;
    if (payload > bytes.length - start) break;
    frames.push({
      header: bytes.slice(at, start),
      columns: bytes.slice(start, start + columns),
      whole: bytes.slice(start + columns, start + payload),
    });
    at = start + payload;
  }
  return { frames, rest: bytes.slice(at) };
}

/** Makes the lengths in the header those of the parts. */
function settle({ header, columns, whole }: Parts, plainBytes?: number): void {
  const view = viewOf(header);
  view.setUint32(field.payload, columns.length + whole.length, true);
  view.setUint32(field.columns, columns.length, true);
  if (plainBytes !== undefined) view.setUint32(field.plain, plainBytes, true);
  else if (header[field.codec] === FrameCodec.stored) view.setUint32(field.plain, columns.length, true);
}

function mutateHeader(header: Uint8Array, random: Random): void {
  const [at, width] = random.pick([
    [field.kind, 1],
    [field.codec, 1],
    [field.region, 2],
    [field.sequence, 4],
    [field.payload, 4],
    [field.columns, 4],
    [field.plain, 4],
    [field.records, 4],
    [28, 4],
    [0, 4],
  ]);
  if (width === 1) header[at] = random.below(8);
  else writeInteresting(header, at, width, random, false);
}

/** Unpacks the columns, changes them as their kind asks for, and packs them again. */
function mutateColumns(core: Core, parts: Parts, random: Random): void {
  const { header } = parts;
  const view = viewOf(header);
  if (header[field.codec] > FrameCodec.lz4 && random.oneIn(2)) {
    parts.columns = mutateBytes(parts.columns, parts.whole, random, { hotBytes: 32 });
    settle(parts);
    return;
  }
  const plain = unpack(core, parts);
  if (plain === null) return;
  let changed: Uint8Array;
  if (header[field.kind] === FrameKind.pages && !random.oneIn(4)) {
    const mutant = mutatePagesColumns(plain, view.getUint32(field.records, true), random);
    changed = mutant.columns;
    view.setUint32(field.records, mutant.records, true);
  } else if (header[field.kind] === FrameKind.header) {
    changed = mutateJson(plain, utf8("{}"), random);
  } else if (header[field.kind] === FrameKind.trailer && plain.length >= 4 && !random.oneIn(3)) {
    const length = Math.min(viewOf(plain).getUint32(0, true), plain.length - 4);
    const text = mutateJson(plain.subarray(4, 4 + length), utf8("{}"), random);
    const head = new Uint8Array(4);
    viewOf(head).setUint32(0, text.length, true);
    changed = concatBytes([head, text, plain.subarray(4 + length)]);
  } else {
    changed = mutateBytes(plain, parts.whole, random, { hotBytes: 16 });
  }
  if (header[field.codec] === FrameCodec.zstd && !random.oneIn(4)) {
    parts.columns = zstd.compress(changed, 1);
    settle(parts, changed.length);
    return;
  }
  const packed = random.oneIn(3) ? core.lz4Compress(changed) : null;
  header[field.codec] = packed === null ? FrameCodec.stored : FrameCodec.lz4;
  parts.columns = packed ?? changed;
  settle(parts, changed.length);
}

function unpack(core: Core, { header, columns }: Parts): Uint8Array | null {
  const codec = header[field.codec];
  if (codec !== FrameCodec.lz4 && codec !== FrameCodec.zstd) return columns;
  const plainBytes = viewOf(header).getUint32(field.plain, true);
  if (plainBytes > 1 << 20) return null;
  try {
    if (codec === FrameCodec.zstd) return decompressZstd(columns, plainBytes);
    return core.lz4Decompress(columns, plainBytes);
  } catch {
    return null;
  }
}

/** Mostly gives frames the numbers from 1 on, as a whole delta has them. */
function renumber(frames: readonly Parts[], random: Random): void {
  if (random.oneIn(4)) return;
  for (const [i, { header }] of frames.entries()) viewOf(header).setUint32(field.sequence, i + 1, true);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
