/**
 * What all contenders work on: memory of processes at two times and what the core makes of it. It lies in the memory
 * of a core for our kernels, and in files for the twins (`test/bench/native/twins.h` names them).
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Core, loadCore, type Pointer } from "../../../src/core.ts";
import { type MemoryPair, readMemoryTwice } from "./process-memory.ts";

export const pageBytes = 4096;
/** A stand-alone LZ4 block. */
export const blockBytes = 64 * 1024;
/** Linked blocks, a page each, refer back within windows of so many bytes. */
export const windowBytes = 256 * 1024;
/** Bits of the bitmap: pages of a guest of 64 GiB. */
export const bitmapBits = 1 << 24;
const keyBytes = 32;
/** Of a bitmap's bits so many are set, in runs whose lengths vary about the mean. */
const dirtyShare = 0.02;
const dirtyRunMean = 4;
const coreBytes = 400 << 20;
const scratchMore = 8 << 20;

/** The inputs in the core's memory; lengths in bytes. `scratch` is as large as the pages and 8 MiB more. */
export type Inputs = {
  readonly core: Core;
  readonly programs: readonly string[];
  readonly bytes: number;
  readonly before: Pointer;
  readonly after: Pointer;
  /** Numbers of the pages that differ. */
  readonly changed: Uint32Array;
  readonly masks: Pointer;
  readonly masksBytes: number;
  readonly literals: Pointer;
  readonly literalBytes: number;
  readonly bitmap: Pointer;
  readonly key: Pointer;
  readonly scratch: Pointer;
  /** LZ4 blocks of 64 KiB each, and linked ones of a page each, one after the other. */
  readonly blocks: Packed;
  readonly linked: Packed;
};

/** Compressed blocks that lie one after the other, and the length of each. */
export type Packed = { readonly pointer: Pointer; readonly lengths: Uint32Array; readonly bytes: number };

/** Makes the inputs from about `bytesMax` bytes of memory. Throws Error if no memory can be read. */
export async function makeInputs(bytesMax: number): Promise<Inputs> {
  const pair = await readMemoryTwice(bytesMax);
  const core = await loadCore({ initialBytes: coreBytes });
  const bytes = pair.after.length;
  const [before, after] = [place(core, pair.before), place(core, pair.after)];
  const scratch = place(core, new Uint8Array(bytes + scratchMore));
  const changed = changedPages(pair);
  const delta = encodeChanged(core, before, after, changed);
  const blocks = pack(core, bytes / blockBytes, (i, out) =>
    core.raw.lz4Compress(after + i * blockBytes, blockBytes, out, core.raw.lz4Bound(blockBytes)),
  );
  const linked = pack(core, bytes / pageBytes, (i, out) => {
    const start = (i * pageBytes) % windowBytes;
    const window = after + i * pageBytes - start;
    return core.raw.lz4CompressLinked(window, start, pageBytes, out, 2 * pageBytes, start === 0);
  });
  const key = place(
    core,
    Uint8Array.from({ length: keyBytes }, (_, i) => i),
  );
  const bitmap = place(core, dirtyBitmap());
  const { programs } = pair;
  return { core, programs, bytes, before, after, changed, ...delta, bitmap, key, scratch, blocks, linked };
}

/** Writes the inputs into files in `folder`. */
export function writeInputs(inputs: Inputs, folder: string): void {
  const { core, bytes } = inputs;
  const part = (from: Pointer, length: number) => core.bytes().subarray(from, from + length);
  const files = {
    before: part(inputs.before, bytes),
    after: part(inputs.after, bytes),
    changed: new Uint8Array(inputs.changed.buffer),
    masks: part(inputs.masks, inputs.masksBytes),
    literals: part(inputs.literals, inputs.literalBytes),
    bitmap: part(inputs.bitmap, bitmapBits / 8),
    blocks: withLengths(core, inputs.blocks),
    linked: withLengths(core, inputs.linked),
    key: part(inputs.key, keyBytes),
  };
  for (const [name, contents] of Object.entries(files)) writeFileSync(join(folder, name), contents);
}

/** The bytes of each packed block, in order. */
export function packedBlocks(core: Core, { pointer, lengths }: Packed): Uint8Array[] {
  let at = pointer;
  return Array.from(lengths, (length) => {
    at += length;
    return core.bytes().subarray(at - length, at);
  });
}

function place(core: Core, contents: Uint8Array): Pointer {
  const pointer = core.allocate(contents.length);
  core.bytes().set(contents, pointer);
  return pointer;
}

function changedPages({ before, after }: MemoryPair): Uint32Array {
  const changed: number[] = [];
  for (let at = 0; at < after.length; at += pageBytes) {
    if (Buffer.compare(before.subarray(at, at + pageBytes), after.subarray(at, at + pageBytes)) !== 0) {
      changed.push(at / pageBytes);
    }
  }
  return Uint32Array.from(changed);
}

function encodeChanged(core: Core, before: Pointer, after: Pointer, changed: Uint32Array) {
  const masks = core.allocate(changed.length * 72);
  const literals = core.allocate(changed.length * pageBytes);
  let [masksBytes, literalBytes] = [0, 0];
  for (const page of changed) {
    const at = page * pageBytes;
    const sizes = core.raw.deltaEncode(after + at, before + at, masks + masksBytes, literals + literalBytes);
    masksBytes += sizes & 0xff;
    literalBytes += (sizes >>> 8) * 8;
  }
  return { masks, masksBytes, literals, literalBytes };
}

function pack(core: Core, count: number, compress: (i: number, out: Pointer) => number): Packed {
  const chunks: Uint8Array[] = [];
  const out = core.allocate(core.raw.lz4Bound(blockBytes));
  for (let i = 0; i < count; i++) chunks.push(core.bytes().slice(out, out + compress(i, out)));
  core.release(out);
  const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
  const pointer = place(core, Buffer.concat(chunks));
  return { pointer, lengths: Uint32Array.from(chunks, ({ length }) => length), bytes };
}

function withLengths(core: Core, packed: Packed): Uint8Array {
  const length = (block: Uint8Array) => new Uint8Array(Uint32Array.of(block.length).buffer);
  return Buffer.concat(packedBlocks(core, packed).flatMap((block) => [length(block), block]));
}

/** The same bitmap in each run. */
function dirtyBitmap(): Uint8Array {
  const bitmap = new Uint8Array(bitmapBits / 8);
  let state = 1;
  const upTo = (mean: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * (2 * mean - 1));
  };
  for (let bit = 0; bit < bitmapBits; ) {
    bit += upTo(dirtyRunMean / dirtyShare - dirtyRunMean);
    for (let run = upTo(dirtyRunMean); run > 0 && bit < bitmapBits; run--, bit++)
      bitmap[bit >> 3]! |= 1 << (bit & 7);
  }
  return bitmap;
}
