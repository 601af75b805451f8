/** A disk kept in one image or in several that lie on each other, read in blocks of 4096 bytes. */

import { pageBytes } from "../delta/vocabulary.ts";
import { ChainCursor, noLevel } from "./chain-cursor.ts";
import type { DiskImage } from "./disk-image.ts";

/** Blocks of the longest run that `dataRuns` gives: 256 MiB. */
export const maxRunBlocks = 1 << 16;

/** Bytes that `dataRuns` looks ahead: whoever stops early does not pay for the whole disk's tables. */
const lookAheadBytes = 2 ** 34;

/** Consecutive blocks of a disk. */
export interface BlockRun {
  readonly block: number;
  readonly count: number;
}

/**
 * Images, newest first. Methods throw FormatError if an image is damaged where they look, RangeError if blocks do
 * not lie in the disk.
 *
 *     const chain = new ImageChain([overlay, base], overlay.lengthBytes);
 *     for (const { block, count } of chain.dataRuns()) …
 */
export class ImageChain {
  readonly lengthBytes: number;
  /** The last one may reach beyond the disk's end and has zeroes there. */
  readonly blocks: number;
  private readonly images: readonly DiskImage[];
  private readonly cursor: ChainCursor;

  /**
   * `lengthBytes` is the disk's size. An image reads as zero beyond its own end, also where an older one has data.
   * Throws RangeError if the length is not a size.
   */
  constructor(images: readonly DiskImage[], lengthBytes: number) {
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) {
      throw new RangeError(`Cannot use a disk of ${lengthBytes} bytes`);
    }
    this.images = images;
    this.lengthBytes = lengthBytes;
    this.blocks = Math.ceil(lengthBytes / pageBytes);
    this.cursor = new ChainCursor(images);
  }

  /** Content of `count` blocks from `block` on to `memory` at `target`. */
  readBlocks(memory: Uint8Array, target: number, block: number, count: number): void {
    this.checkBlocks(block, block + count);
    const start = block * pageBytes;
    // No block at all may be asked for behind a last block that is a part.
    const end = Math.max(start, Math.min(start + count * pageBytes, this.lengthBytes));
    const targetEnd = target + count * pageBytes;
    if (!(target >= 0 && targetEnd <= memory.length)) {
      throw new RangeError(`Cannot read ${count} blocks to ${target}: the memory has ${memory.length} bytes`);
    }
    const { cursor } = this;
    for (let at = start; at < end; at += cursor.lengthBytes) {
      cursor.locate(at, end);
      const to = target + at - start;
      if (cursor.level === noLevel) memory.fill(0, to, to + cursor.lengthBytes);
      else this.images[cursor.level].read(memory, to, cursor.lengthBytes, at);
    }
    memory.fill(0, target + end - start, targetEnd);
  }

  /**
   * Runs of blocks from `from` up to `to` of which some image has data, ascending; all other blocks are zero. A run
   * has at most `maxRunBlocks`. Needs constant memory; ranges without tables cost next to nothing.
   */
  *dataRuns(from = 0, to: number = this.blocks): Generator<BlockRun, void, undefined> {
    this.checkBlocks(from, to);
    // Its own cursor: reads between two runs would make it forget the long ranges.
    const cursor = new ChainCursor(this.images);
    const end = Math.min(to * pageBytes, this.lengthBytes);
    let first = from;
    let next = from;
    for (let at = from * pageBytes; at < end; at += cursor.lengthBytes) {
      cursor.locate(at, Math.min(end, at + lookAheadBytes));
      if (cursor.level === noLevel) continue;
      const block = Math.floor(at / pageBytes);
      if (block > next) {
        if (next > first) yield { block: first, count: next - first };
        first = block;
      }
      next = Math.ceil((at + cursor.lengthBytes) / pageBytes);
      for (; next - first > maxRunBlocks; first += maxRunBlocks) yield { block: first, count: maxRunBlocks };
    }
    if (next > first) yield { block: first, count: next - first };
  }

  /** True if no image has data for these blocks, so that they are zero. Reads no content. */
  isKnownZero(block: number, count: number): boolean {
    this.checkBlocks(block, block + count);
    const end = Math.min((block + count) * pageBytes, this.lengthBytes);
    for (let at = block * pageBytes; at < end; at += this.cursor.lengthBytes) {
      this.cursor.locate(at, end);
      if (this.cursor.level !== noLevel) return false;
    }
    return true;
  }

  /** Closes all images. */
  close(): void {
    for (const image of this.images) image.close();
  }

  private checkBlocks(from: number, to: number): void {
    if (
      !Number.isSafeInteger(from) ||
      !Number.isSafeInteger(to) ||
      from < 0 ||
      from > to ||
      to > this.blocks
    ) {
      throw new RangeError(`Cannot use blocks ${from} to ${to}: the disk has ${this.blocks}`);
    }
  }
}
