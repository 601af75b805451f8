/**
 * Where the pages of a leg are encoded: in this thread at first, and in threads of their own as soon as this thread is
 * what limits the leg. What is sent, and what is kept, is the same by both ways, in the order of QEMU's stream.
 *
 *     page ─► change encoder ─► frame ─────────────────────────────────────────► image, sink
 *         └─► batch ─► encode pool: digests, frames, image ─► change encoder ─► number ─► sink
 *
 * Only where nothing of the base's content is compared: a return leg that finds most pages unchanged is limited by reading.
 */

import { availableParallelism } from "node:os";
import { type Core, compileCore } from "../../src/core.ts";
import { PageWish } from "../../src/delta/batch-encoder.ts";
import type { ChangeEncoder } from "../../src/delta/change-encoder.ts";
import { numberFrame } from "../../src/delta/frame.ts";
import type { FrameSequence } from "../../src/delta/frame-sequence.ts";
import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes, type PageDigests } from "../../src/generation/digest-tree.ts";
import { messageOf } from "../errors.ts";
import { type BatchSlot, batchPages } from "./batch-slot.ts";
import type { CodecPlan, CodecSample } from "./codec-run.ts";
import { EncodePool, type PoolBatch, type PoolResult } from "./encode-pool.ts";

/** It is judged after each so many bytes of changed pages whether the link waits for this thread, or this thread for the link. */
export const threadsAfterBytes = 16 << 20;
/** More threads than this are not fed by one that reads QEMU's stream. */
const maxThreads = 6;
/** As for frames that are made in this thread. */
const sealAtBytes = 128 * 1024;

/** Threads that may encode for a leg. */
export interface EncodeThreads {
  readonly count: number;
  /** Started when so many bytes of changed pages were encoded while the link was hardly ever full. */
  readonly afterBytes: number;
  /** The leg cannot go on: a thread has failed, or could not write. */
  readonly onFailed: (error: Error) => void;
  readonly warn: (message: string) => void;
}

/** As many threads as there are cores for: one is for this thread, QEMU and the guest. Null if that leaves none. */
export function encodeThreads(told: Pick<EncodeThreads, "onFailed" | "warn">): EncodeThreads | null {
  const count = Math.min(maxThreads, availableParallelism() - 1);
  return count === 0 ? null : { count, afterBytes: threadsAfterBytes, ...told };
}

/** What a route needs. */
export interface EncodeRouteOptions {
  readonly core: Core;
  readonly encoder: ChangeEncoder;
  readonly digests: PageDigests;
  readonly sequence: FrameSequence;
  readonly key: Uint8Array;
  /** What both sides have in common: with `content` everything is encoded in this thread. */
  readonly mode: "nothing" | "digests" | "content";
  /** Null: everything is encoded in this thread. */
  readonly threads: EncodeThreads | null;
  /** True while the link is the limit: then one thread is enough. */
  readonly isLinkBusy: () => boolean;
  /** Image of this site's own copy. */
  readonly imagePath: string;
  readonly plan: () => CodecPlan;
  /** Takes what codecs made of one payload. */
  readonly learn: (samples: readonly CodecSample[]) => void;
  /** Takes a frame whose pages are in the image already. */
  readonly onFrame: (frame: Uint8Array, said: Omit<DecodedPages, "contents">) => void;
  /** A batch is done: more may be taken. */
  readonly onRoom: () => void;
}

/** The pages of one leg. */
export class EncodeRoute {
  private readonly options: EncodeRouteOptions;
  private pool: EncodePool | null = null;
  private state: "alone" | "starting" | "parallel" | "over" = "alone";
  /** Changed bytes that start the threads; Infinity where they would not help. */
  private readonly startAfterBytes: number;
  /** Changed bytes when the link was judged last. */
  private judgedAtBytes = 0;
  private slot: BatchSlot | null = null;
  private region = 0;
  private count = 0;
  private isAfterAll = false;
  /** Number of the batch that a page was in last, over the page space; those up to `answered` are done. */
  private batchOf = new Uint32Array(0);
  private collecting = 1;
  private answered = 0;

  constructor(options: EncodeRouteOptions) {
    this.options = options;
    const { threads, mode } = options;
    this.startAfterBytes =
      threads === null || mode === "content" ? Number.POSITIVE_INFINITY : threads.afterBytes;
  }

  /** True while the threads have enough to do. */
  get isFull(): boolean {
    return this.pool?.isFull ?? false;
  }

  /** Threads that encode now; 0 while this one does. */
  get threads(): number {
    return this.state === "parallel" ? (this.options.threads?.count ?? 0) : 0;
  }

  /** Bytes of pages that were taken and are not in a frame so far, but for those of this thread's own frame. */
  get pendingBytes(): number {
    return (this.count + (this.pool?.pendingPages ?? 0)) * pageBytes;
  }

  /** Takes a page as QEMU sent it: `content` points to 4096 bytes in the core's memory. */
  page(region: number, page: number, content: number): void {
    const { encoder, core } = this.options;
    if (this.state !== "parallel") {
      encoder.page(region, page, content);
      if (encoder.changedBytes - this.judgedAtBytes >= this.startAfterBytes) this.judge();
      return;
    }
    const slot = this.place(region, page);
    const at = this.count * pageBytes;
    slot.contents.set(core.bytes().subarray(content, content + pageBytes), at);
    this.add(slot, page, this.wishFor(slot, page));
  }

  /** Takes a page that QEMU sent as zero. */
  zeroPage(region: number, page: number): void {
    const { encoder, digests } = this.options;
    if (this.state !== "parallel") {
      encoder.zeroPage(region, page);
      return;
    }
    const global = digests.geometry.regions[region].firstPage + page;
    if (!this.isUnderWay(global) && digests.isZero(global) && encoder.isSettled(global)) return;
    this.add(this.place(region, page), page, PageWish.zero);
  }

  /** Has what is waiting made into frames. */
  flush(): void {
    this.options.encoder.flush();
    this.giveBatch();
  }

  /** Calls `action` when every page so far is in a frame that was handed on. */
  whenDone(action: () => void): void {
    this.flush();
    if (this.state === "parallel") this.pool?.whenIdle(action);
    else action();
  }

  /** Ends the threads. Resolves when nothing is written any more; what was not done is lost. */
  async close(): Promise<void> {
    this.state = "over";
    await this.pool?.close();
  }

  private judge(): void {
    this.judgedAtBytes = this.options.encoder.changedBytes;
    if (!this.options.isLinkBusy() && this.state === "alone") this.start();
  }

  private start(): void {
    this.state = "starting";
    const { onFailed, warn } = this.options.threads as EncodeThreads;
    this.startPool().then(
      () => {
        if (this.state !== "starting") return;
        try {
          this.options.encoder.flush();
          this.batchOf = new Uint32Array(this.options.digests.geometry.totalPages);
          this.state = "parallel";
        } catch (error) {
          onFailed(error as Error);
        }
      },
      (error) => {
        if (this.state !== "starting") return;
        // One thread is enough, only slower.
        warn(`Cannot encode in several threads: ${messageOf(error)}`);
        this.pool?.close().catch(() => {});
        this.pool = null;
      },
    );
  }

  private async startPool(): Promise<void> {
    const { core, key, mode, imagePath } = this.options;
    const { count, onFailed } = this.options.threads as EncodeThreads;
    const module = await compileCore();
    if (this.state !== "starting") return;
    this.pool = new EncodePool({
      threads: count,
      module,
      key,
      isBaseZero: mode === "nothing",
      hasZstd: core.zstd !== null,
      sealAtBytes,
      imagePath,
      onEncoded: (batch, result) => this.encoded(batch, result),
      onFailed: (error) => {
        if (this.state === "parallel") onFailed(error);
      },
    });
    await this.pool.ready;
  }

  /** The slot for a page of this region; what is there is given away if it does not go with it. */
  private place(region: number, page: number): BatchSlot {
    const { geometry } = this.options.digests;
    const global = geometry.regions[region].firstPage + page;
    if (this.count === batchPages || region !== this.region || this.batchOf[global] === this.collecting) {
      this.giveBatch();
    }
    this.region = region;
    this.slot ??= (this.pool as EncodePool).takeSlot();
    return this.slot;
  }

  private wishFor(slot: BatchSlot, page: number): PageWish {
    const { digests, encoder } = this.options;
    const global = digests.geometry.regions[this.region].firstPage + page;
    // What is under way counts as unknown: it is sent again.
    if (this.isUnderWay(global) || !encoder.isSettled(global)) return PageWish.send;
    const at = global * digestBytes;
    slot.digests.set(digests.digests.subarray(at, at + digestBytes), this.count * digestBytes);
    return PageWish.sendIfNew;
  }

  private add(slot: BatchSlot, page: number, wish: PageWish): void {
    const global = this.options.digests.geometry.regions[this.region].firstPage + page;
    this.isAfterAll ||= this.isUnderWay(global);
    this.batchOf[global] = this.collecting;
    slot.pages[this.count] = page;
    slot.wishes[this.count++] = wish;
    if (this.count === batchPages) this.giveBatch();
  }

  private isUnderWay(global: number): boolean {
    return this.batchOf[global] > this.answered;
  }

  private giveBatch(): void {
    if (this.slot === null || this.count === 0) return;
    const { slot, region, count, isAfterAll } = this;
    const { firstPage } = this.options.digests.geometry.regions[region];
    this.slot = null;
    this.count = 0;
    this.isAfterAll = false;
    this.collecting++;
    this.pool?.give({ slot, region, firstPage, count, plan: this.options.plan(), isAfterAll });
  }

  private encoded({ slot, region, count }: PoolBatch, { frames, samples }: PoolResult): void {
    const { core, encoder, sequence, onFrame, learn, onRoom } = this.options;
    this.answered++;
    const { pages, wishes, digests, kinds } = slot;
    encoder.took({ region, count, pages, wishes, digests, kinds, frames });
    for (const ofPayload of samples) learn(ofPayload);
    let at = 0;
    for (const { frame, records } of frames) {
      const said = {
        region,
        sequence: sequence.take(),
        count: records,
        pages: new Uint32Array(records),
        kinds: new Uint8Array(records),
      };
      for (let i = 0; i < records; at++) {
        if (kinds[at] === 0) continue;
        said.pages[i] = pages[at];
        said.kinds[i++] = kinds[at];
      }
      numberFrame(core, frame, said.sequence);
      onFrame(frame, said);
    }
    onRoom();
  }
}
