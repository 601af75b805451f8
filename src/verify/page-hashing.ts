/**
 * Digests of the pages of large files, by whoever can make them: this thread, or several others. A verifier hands out
 * ranges of pages and compares what comes back.
 */

import type { Core } from "../core.ts";
import { pageBytes } from "../delta/vocabulary.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import { isImmediate, type RandomAccess, readFully, readFullySync } from "./random-access.ts";

/** Pages whose digests are wanted. */
export interface PageRange {
  /** Digest key, 32 bytes. */
  readonly key: Uint8Array;
  /** The file, opened by the one who asks; it stays open until the digests are there. */
  readonly input: RandomAccess;
  /** First page of the file. */
  readonly firstPage: number;
  /** 1 to `maxRangePages`. */
  readonly count: number;
  /** Gets 16 bytes a page: the page digests. */
  readonly out: Uint8Array;
}

/** Makes page digests. */
export interface PageHasher {
  /** Ranges that are best asked for at the same time. */
  readonly lanes: number;
  /** Throws FormatError "truncated" if the file ends before the range does, or SourceError if it cannot be read. */
  digestPages(range: PageRange): Promise<void>;
}

/** Pages of a range at most: 8 MiB. */
export const maxRangePages = 2048;
/** Pages that are read and hashed at a time: 1 MiB. */
const windowPages = 256;

/** Makes page digests in this thread. Takes 1 MiB of the core's memory until it is released. */
export class CorePageHasher implements PageHasher {
  readonly lanes = 1;
  private readonly core: Core;
  /** Key, digest of a page of zeroes, digests of a window, then the window. */
  private readonly memory: number;
  private readonly digests: number;
  private readonly window: number;
  private key: Uint8Array | null = null;
  private zero = new Uint8Array(digestBytes);
  /** What comes from a source that must be waited for: one part is read while the other is hashed. */
  private staging: [Uint8Array, Uint8Array] | null = null;

  constructor(core: Core) {
    this.core = core;
    this.memory = core.allocate(64 + windowPages * (digestBytes + pageBytes));
    this.digests = this.memory + 64;
    this.window = this.digests + windowPages * digestBytes;
  }

  async digestPages(range: PageRange): Promise<void> {
    const { key, input } = range;
    this.useKey(key);
    if (isImmediate(input)) {
      for (let done = 0; done < range.count; done += windowPages) {
        const count = Math.min(windowPages, range.count - done);
        const from = this.window;
        const target = this.core.bytes().subarray(from, from + count * pageBytes);
        readFullySync(input, target, (range.firstPage + done) * pageBytes);
        this.hash(count, range.out, done * digestBytes);
      }
      return;
    }
    this.staging ??= [new Uint8Array(windowPages * pageBytes), new Uint8Array(windowPages * pageBytes)];
    const staging = this.staging;
    const read = (done: number): { part: Uint8Array; ready: Promise<void> } => {
      const count = Math.min(windowPages, range.count - done);
      const part = staging[(done / windowPages) & 1].subarray(0, count * pageBytes);
      const ready = readFully(input, part, (range.firstPage + done) * pageBytes);
      // Whoever awaits it learns of the error; one that nobody awaits any more is not to end the program.
      ready.catch(() => {});
      return { part, ready };
    };
    let next = read(0);
    for (let done = 0; done < range.count; done += windowPages) {
      const { part, ready } = next;
      await ready;
      if (done + windowPages < range.count) next = read(done + windowPages);
      this.core.bytes().set(part, this.window);
      this.hash(part.length / pageBytes, range.out, done * digestBytes);
    }
  }

  /** Gives the memory in the core back. */
  release(): void {
    this.core.release(this.memory);
  }

  private useKey(key: Uint8Array): void {
    if (this.key === key) return;
    this.key = key;
    this.core.bytes().set(key, this.memory);
    this.zero = this.core.blake3(new Uint8Array(pageBytes), key, digestBytes);
  }

  /** Digests of the window's pages; those of pages of zeroes are known. */
  private hash(count: number, out: Uint8Array, at: number): void {
    const { core, window, digests } = this;
    if (core.raw.isZero(window, count * pageBytes) === 1) {
      for (let i = 0; i < count; i++) out.set(this.zero, at + i * digestBytes);
      return;
    }
    for (let from = 0; from < count; ) {
      const isZero = this.isZeroPage(from);
      let to = from + 1;
      while (to < count && this.isZeroPage(to) === isZero) to++;
      if (!isZero) {
        core.raw.pageDigests(window + from * pageBytes, to - from, this.memory, digests + from * digestBytes);
      } else for (let i = from; i < to; i++) core.bytes().set(this.zero, digests + i * digestBytes);
      from = to;
    }
    out.set(core.bytes().subarray(digests, digests + count * digestBytes), at);
  }

  private isZeroPage(page: number): boolean {
    return this.core.raw.isZero(this.window + page * pageBytes, pageBytes) === 1;
  }
}
