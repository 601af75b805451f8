/**
 * Threads that encode batches of pages. Batches are answered in the order in which they were given, whichever thread was
 * first; each thread has one under way and one that waits, so that it need not wait for this thread.
 *
 *     give(batch) ─► queue ─► encode-worker.ts ─► onEncoded, in the queue's order
 *                      └─ one that holds a page again waits until all before it are answered
 */

import { Worker } from "node:worker_threads";
import type { UnnumberedFrame } from "../../src/delta/batch-encoder.ts";
import { storeError } from "../store/atomic-file.ts";
import { type BatchSlot, openSlot } from "./batch-slot.ts";
import type { CodecPlan, CodecSample } from "./codec-run.ts";
import type { EncodeAnswer, EncodeRequest, EncodeWorkerSetup } from "./encode-worker.ts";

const batchesPerThread = 2;

/** A batch of pages on its way. */
export interface PoolBatch {
  readonly slot: BatchSlot;
  readonly region: number;
  /** First page of the region over the page space. */
  readonly firstPage: number;
  readonly count: number;
  readonly plan: CodecPlan;
  /** True if it holds a page that a batch before it holds too: the older one must be written by then. */
  readonly isAfterAll: boolean;
}

/** What became of a batch; its digests and kinds stand in its slot. */
export interface PoolResult {
  readonly frames: readonly UnnumberedFrame[];
  /** By payload. */
  readonly samples: readonly (readonly CodecSample[])[];
}

/** What a pool needs. */
export interface EncodePoolOptions extends EncodeWorkerSetup {
  readonly threads: number;
  /** Called with each batch in the order of `give`; the slot is the pool's again when it returns. */
  readonly onEncoded: (batch: PoolBatch, result: PoolResult) => void;
  /** Called once, with what ended the pool: nothing more is encoded. */
  readonly onFailed: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  /** Given to it and not answered, oldest first. */
  readonly underWay: Queued[];
}

interface Queued {
  readonly batch: PoolBatch;
  isGiven: boolean;
  result: PoolResult | null;
}

/** Threads for one leg. They run until `close`. */
export class EncodePool {
  /** Resolves when all threads are ready; rejects if one cannot start. */
  readonly ready: Promise<void>;
  private readonly options: EncodePoolOptions;
  private readonly threads: readonly Thread[];
  private readonly queue: Queued[] = [];
  private readonly free: BatchSlot[] = [];
  private idle: (() => void)[] = [];
  private end: Error | null = null;

  /** Starts the threads, at least one. */
  constructor(options: EncodePoolOptions) {
    if (!Number.isInteger(options.threads) || options.threads < 1) {
      throw new RangeError(`Cannot start ${options.threads} threads`);
    }
    this.options = options;
    const started = Array.from({ length: options.threads }, () => this.start());
    this.threads = started.map(({ thread }) => thread);
    this.ready = Promise.all(started.map(({ ready }) => ready)).then(() => {});
    this.ready.catch(() => {});
  }

  /** True while enough is under way to keep all threads busy. What comes is taken all the same. */
  get isFull(): boolean {
    return this.queue.length > this.threads.length * batchesPerThread;
  }

  /** Pages given and not answered so far. */
  get pendingPages(): number {
    return this.queue.reduce((pages, { batch }) => pages + batch.count, 0);
  }

  /** A slot for the next batch. */
  takeSlot(): BatchSlot {
    return this.free.pop() ?? openSlot();
  }

  /** Takes a batch. Its slot is not to be touched before it is answered. */
  give(batch: PoolBatch): void {
    if (this.end !== null) return;
    this.queue.push({ batch, isGiven: false, result: null });
    this.dispatch();
  }

  /** Calls `action` when everything that was given is answered; now if it is. Never after a failure. */
  whenIdle(action: () => void): void {
    if (this.end !== null) return;
    if (this.queue.length === 0) action();
    else this.idle.push(action);
  }

  /** Ends the threads; what is under way is not answered any more. Resolves when none of them writes. */
  async close(): Promise<void> {
    this.end ??= new Error("the threads were ended");
    await Promise.all(this.threads.map(({ worker }) => worker.terminate()));
  }

  private start(): { readonly thread: Thread; readonly ready: Promise<void> } {
    const { module, key, isBaseZero, hasZstd, sealAtBytes, imagePath } = this.options;
    const setup: EncodeWorkerSetup = { module, key, isBaseZero, hasZstd, sealAtBytes, imagePath };
    const worker = new Worker(new URL("./encode-worker.js", import.meta.url), { workerData: setup });
    const thread: Thread = { worker, underWay: [] };
    const ready = new Promise<void>((resolve, reject) => {
      worker.on("message", (answer: EncodeAnswer) => {
        if (answer.kind === "ready") resolve();
        else this.answered(thread, answer);
      });
      const failed = (error: Error) => {
        reject(error);
        this.fail(error);
      };
      worker.on("error", (cause) => failed(new Error("Cannot encode: a thread failed", { cause })));
      worker.on("exit", () => failed(new Error("Cannot encode: a thread ended")));
    });
    return { thread, ready };
  }

  private dispatch(): void {
    for (const [i, queued] of this.queue.entries()) {
      if (queued.isGiven) continue;
      if (queued.batch.isAfterAll && i > 0) return;
      const thread = this.threads.reduce((least, one) =>
        one.underWay.length < least.underWay.length ? one : least,
      );
      if (thread.underWay.length >= batchesPerThread) return;
      queued.isGiven = true;
      thread.underWay.push(queued);
      const { slot, region, firstPage, count, plan } = queued.batch;
      const request: EncodeRequest = { slot: slot.shared, region, firstPage, count, plan };
      thread.worker.postMessage(request);
    }
  }

  private answered(thread: Thread, answer: Exclude<EncodeAnswer, { kind: "ready" }>): void {
    if (this.end !== null) return;
    if (answer.kind === "failed") {
      const { message, code } = answer;
      const cause = Object.assign(new Error(message), code === null ? {} : { code });
      this.fail(storeError(`Cannot encode, or write ${this.options.imagePath}`, cause));
      return;
    }
    (thread.underWay.shift() as Queued).result = answer;
    try {
      this.handOn();
    } catch (error) {
      this.fail(error as Error);
      return;
    }
    this.dispatch();
  }

  private handOn(): void {
    while (this.queue.length > 0 && this.queue[0].result !== null) {
      const { batch, result } = this.queue.shift() as Queued;
      this.options.onEncoded(batch, result as PoolResult);
      this.free.push(batch.slot);
    }
    if (this.queue.length === 0) for (const action of this.idle.splice(0)) action();
  }

  private fail(error: Error): void {
    if (this.end !== null) return;
    this.end = error;
    this.options.onFailed(error);
  }
}
