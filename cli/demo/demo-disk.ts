/**
 * The demo's disk: a sparse raw file, part of which is filled with content that can be computed again at any time, so
 * that a copy of the disk can be held against what was written. Filled runs lie spread over the disk:
 *
 *     │▓▓▓ run 0 ▓▓▓│   hole   │▓▓▓ run 1 ▓▓▓│   hole   │▓▓▓ run 2 ▓▓▓│   hole   │
 *      filled blocks 0 … 255     filled blocks 256 … 511
 */

import { type FileHandle, open, rm } from "node:fs/promises";
import { messageOf, OperationError } from "../errors.ts";
import { fillPage } from "./guest.ts";

/** Bytes of a block. */
export const blockBytes = 4096;
/** Blocks of a filled run. */
const runBlocks = 256;
const runBytes = runBlocks * blockBytes;

/** Content of a block: `mixed` compresses about two to one, as much of what disks hold does; `dense` hardly at all. */
export type DiskContent = "mixed" | "dense";

/** What the disk is. */
export interface DemoDiskOptions {
  /** A multiple of 4096. */
  readonly sizeBytes: number;
  /** Whole MiB, at most the size. */
  readonly filledBytes: number;
  readonly content: DiskContent;
}

/** Bytes at a place of the disk. */
export interface PlacedBytes {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** New content for a place of the disk. */
export interface DiskChange extends PlacedBytes {
  /** It was written: from now on the disk must hold it. */
  readonly done: () => void;
}

/** The disk's file at the first site, and what the disk holds by now wherever it is. */
export class DemoDisk {
  readonly path: string;
  readonly sizeBytes: number;
  readonly filledBlocks: number;
  private readonly content: DiskContent;
  /** Blocks from the beginning of a run to that of the next. */
  private readonly strideBlocks: number;
  /** How often each filled block was written. */
  private readonly versions: Uint32Array;
  private spreads = 0;

  private constructor(path: string, options: DemoDiskOptions) {
    const { sizeBytes, filledBytes, content } = options;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes % blockBytes !== 0) {
      throw new RangeError(
        `Cannot make a disk of ${sizeBytes} bytes: it must be a multiple of ${blockBytes}`,
      );
    }
    if (filledBytes % runBytes !== 0 || filledBytes < runBytes || filledBytes > sizeBytes) {
      throw new RangeError(
        `Cannot fill ${filledBytes} bytes of a disk: whole MiB within its size are needed`,
      );
    }
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.content = content;
    this.filledBlocks = filledBytes / blockBytes;
    this.strideBlocks = Math.floor(sizeBytes / blockBytes / (this.filledBlocks / runBlocks));
    this.versions = new Uint32Array(this.filledBlocks);
  }

  /** Makes the file, which must not be there. Throws RangeError, or OperationError when it cannot be written. */
  static async create(path: string, options: DemoDiskOptions): Promise<DemoDisk> {
    const disk = new DemoDisk(path, options);
    let file: FileHandle | undefined;
    try {
      file = await open(path, "wx", 0o600);
      await file.truncate(disk.sizeBytes);
      for (let index = 0; index < disk.filledBlocks; index += runBlocks) {
        const { offset, bytes } = disk.contentOf(index, runBlocks);
        await file.write(bytes, 0, bytes.length, offset);
      }
    } catch (error) {
      if (file !== undefined) await rm(path, { force: true });
      throw new OperationError("failed", `Cannot make disk ${path}: ${messageOf(error)}`, { cause: error });
    } finally {
      await file?.close();
    }
    return disk;
  }

  /**
   * New content for `count` filled blocks from `index`; the caller writes it. `index` must be a multiple of `count`,
   * and `count` a power of two up to 256: then they lie together.
   */
  change(index: number, count = 1): DiskChange {
    const done = () => {
      for (let i = index; i < index + count; i++) this.versions[i]++;
    };
    return { ...this.contentOf(index, count, 1), done };
  }

  /** Indices of `count` filled blocks, evenly spread; another choice each time. */
  spread(count: number): number[] {
    const shift = this.spreads++;
    return Array.from(
      { length: count },
      (_, i) => (Math.floor((i * this.filledBlocks) / count) + shift) % this.filledBlocks,
    );
  }

  /** What `count` filled blocks from `index` on hold now, or will after so many changes. */
  contentOf(index: number, count: number, changes = 0): PlacedBytes {
    const bytes = new Uint8Array(count * blockBytes);
    for (let i = 0; i < count; i++) bytes.set(this.block(index + i, changes), i * blockBytes);
    return { offset: this.placeOf(index) * blockBytes, bytes };
  }

  /** What a block of the disk, by its number there, must hold now; null: zeroes. */
  expected(place: number): Uint8Array | null {
    const run = Math.floor(place / this.strideBlocks);
    const within = place % this.strideBlocks;
    const index = run * runBlocks + within;
    return within < runBlocks && index < this.filledBlocks ? this.block(index) : null;
  }

  /** The first filled block from `place` on, before `end`, by its number on the disk; null: there is none. */
  firstFilled(place: number, end: number): number | null {
    const run = Math.floor(place / this.strideBlocks);
    const within = place % this.strideBlocks;
    const next = within < runBlocks ? place : (run + 1) * this.strideBlocks;
    const runs = this.filledBlocks / runBlocks;
    return next < end && Math.floor(next / this.strideBlocks) < runs ? next : null;
  }

  private placeOf(index: number): number {
    return Math.floor(index / runBlocks) * this.strideBlocks + (index % runBlocks);
  }

  private block(index: number, changes = 0): Uint8Array {
    const bytes = fillPage(index, Math.imul(this.versions[index] + changes + 1, 0x85ebca6b));
    if (this.content === "mixed") {
      // Half of the block is 64 bytes again and again.
      for (let at = blockBytes / 2; at < blockBytes; at += 64) bytes.copyWithin(at, 0, 64);
    }
    return bytes;
  }
}
