/** A generation as it lies in the store, and its content read through the chain below it. */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import { DeviceAssembler } from "../../src/delta/device-frames.ts";
import { decodeFrameHeader, framesOf } from "../../src/delta/frame.ts";
import { decodeDeltaTrailer } from "../../src/delta/header-frame.ts";
import { FrameKind, frameHeaderBytes, frameLimits, pageBytes } from "../../src/delta/vocabulary.ts";
import { type Geometry, placeRegions } from "../../src/generation/geometry.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { type FileIdentity, openFileIdentity } from "../file-identity.ts";

/** A complete generation: its manifest, its folder, and the generations under it, nearest first. */
export interface StoredGeneration {
  readonly manifest: Manifest;
  readonly directory: string;
  /** The chain down to a complete image; empty if this one is complete. */
  readonly below: readonly StoredGeneration[];
}

/** Levels that answer for a generation's pages, newest first; the last one is a complete image. */
export function chainOf(generation: StoredGeneration): StoredGeneration[] {
  return [generation, ...generation.below];
}

/** Path of the complete image at the bottom of the chain: what a QEMU maps. */
export function imagePathOf(generation: StoredGeneration): string {
  const chain = chainOf(generation);
  return join(chain[chain.length - 1].directory, "ram.img");
}

/** 16 bytes a page, as the generation's file has them. Throws OperationError if the length is wrong. */
export async function readDigests(generation: StoredGeneration): Promise<Uint8Array> {
  const path = join(generation.directory, "digests");
  const bytes = await readFile(path);
  const expected = placeRegions(generation.manifest.regions).totalPages * 16;
  if (bytes.length !== expected) {
    throw new OperationError("failed", `Cannot use ${path}: ${bytes.length} bytes, ${expected} expected`);
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** The device state, from its frames. Throws FormatError if they are damaged. */
export async function readDeviceState(core: Core, generation: StoredGeneration): Promise<Uint8Array> {
  const bytes = await readFile(join(generation.directory, "device"));
  const assembler = new DeviceAssembler(core);
  for (const { frame } of framesOf(bytes)) assembler.add(frame);
  return assembler.take();
}

/** Content of a generation, page by page, through its chain. Reads synchronously into the core's memory. */
export class GenerationContent {
  readonly geometry: Geometry;
  private readonly core: Core;
  private readonly files: number[] = [];
  /** Level of the chain that answers for each page; null while there is only one level. */
  private readonly levels: Uint16Array | null;

  constructor(core: Core, generation: StoredGeneration) {
    this.core = core;
    this.geometry = placeRegions(generation.manifest.regions);
    const chain = chainOf(generation);
    const bottom = chain.length - 1;
    this.levels = bottom === 0 ? null : new Uint16Array(this.geometry.totalPages).fill(bottom);
    try {
      for (const level of chain) this.openImage(level);
      for (let level = bottom - 1; level >= 0; level--) {
        forEachSetBit(readDirtyBitmap(core, chain[level], this.geometry), (page) => {
          (this.levels as Uint16Array)[page] = level;
        });
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Reads `count` pages from `page` on to `target` in the core's memory. */
  readPages(page: number, count: number, target: number): void {
    const end = page + count;
    let from = page;
    while (from < end) {
      const level = this.levels === null ? 0 : this.levels[from];
      let to = from + 1;
      if (this.levels === null) to = end;
      else while (to < end && this.levels[to] === level) to++;
      this.readRun(level, from, to - from, target + (from - page) * pageBytes);
      from = to;
    }
  }

  /** The complete image at the bottom of the chain, as it was opened here. */
  get image(): FileIdentity {
    return openFileIdentity(this.files[this.files.length - 1]);
  }

  /** True if the complete image answers for the page. */
  isInImage(page: number): boolean {
    return this.levels === null || this.levels[page] === this.files.length - 1;
  }

  /** Pages whose content is not in the complete image at the bottom of the chain, in ascending order. */
  *pagesAboveImage(): Generator<number> {
    if (this.levels === null) return;
    for (let page = 0; page < this.levels.length; page++) if (!this.isInImage(page)) yield page;
  }

  close(): void {
    for (const file of this.files.splice(0)) closeSync(file);
  }

  private openImage(level: StoredGeneration): void {
    const path = join(level.directory, "ram.img");
    const file = openSync(path, "r");
    this.files.push(file);
    const expected = this.geometry.totalPages * pageBytes;
    const { size } = fstatSync(file);
    if (size !== expected) {
      throw new OperationError("failed", `Cannot use ${path}: ${size} bytes, ${expected} expected`);
    }
  }

  private readRun(level: number, page: number, count: number, target: number): void {
    let at = 0;
    const length = count * pageBytes;
    while (at < length) {
      const got = readSync(
        this.files[level],
        this.core.bytes(),
        target + at,
        length - at,
        page * pageBytes + at,
      );
      if (got === 0) throw new OperationError("failed", `Cannot read page ${page}: its image ends before it`);
      at += got;
    }
  }
}

/** The bitmap of pages that a delta generation holds: the last frame of its `delta`. */
function readDirtyBitmap(core: Core, generation: StoredGeneration, geometry: Geometry): Uint8Array {
  const path = join(generation.directory, "delta");
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const head = new Uint8Array(frameHeaderBytes);
    for (let at = 0; at < size; ) {
      readSync(file, head, 0, frameHeaderBytes, at);
      const header = decodeFrameHeader(head);
      if (header.kind === FrameKind.trailer) {
        const frame = new Uint8Array(
          Math.min(frameHeaderBytes + header.payloadBytes, frameLimits.otherColumnsBytes),
        );
        readSync(file, frame, 0, frame.length, at);
        const { dirty } = decodeDeltaTrailer(core, frame);
        if (dirty.length !== Math.ceil(geometry.totalPages / 8)) break;
        return dirty;
      }
      at += frameHeaderBytes + header.payloadBytes;
    }
  } finally {
    closeSync(file);
  }
  throw new OperationError("failed", `Cannot use ${path}: it has no valid trailer`);
}

function forEachSetBit(bitmap: Uint8Array, visit: (bit: number) => void): void {
  for (let byte = 0; byte < bitmap.length; byte++) {
    for (let bits = bitmap[byte], bit = 0; bits !== 0; bits >>= 1, bit++) if (bits & 1) visit(byte * 8 + bit);
  }
}
