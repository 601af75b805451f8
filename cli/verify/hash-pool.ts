/**
 * Makes page digests in several threads. A range goes to the thread that has the fewest; each thread has one range
 * under way and one that waits, so that it need not wait for this thread.
 *
 *     digestPages(range) ──► a free area ──► hash-worker.ts: reads the file, hashes ──► the area, shared memory
 *           range.out ◄──────────────────────────────────────────────────────────────────┘
 */

import { Worker } from "node:worker_threads";
import { FormatError } from "../../src/errors.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { maxRangePages, type PageHasher, type PageRange } from "../../src/verify/page-hashing.ts";
import { type RandomAccess, SourceError } from "../../src/verify/random-access.ts";
import type { OpenFile } from "./file-window.ts";
import type { HashAnswer, HashFailure, HashRequest, HashWorkerSetup } from "./hash-worker.ts";

const areasPerThread = 2;

/** Memory that gets the digests of one range, and whoever waits for them. */
interface Area {
  readonly thread: Thread;
  readonly index: number;
  readonly digests: Uint8Array;
  /** From when it is given to a range until its digests were copied. */
  isTaken: boolean;
  settle: ((failure: Error | null) => void) | null;
}

interface Thread {
  readonly worker: Worker;
  readonly areas: Area[];
}

/**
 * Threads that make page digests of open files. They run until `close`; close the files only when their ranges were
 * answered.
 *
 * @example
 * const pool = new HashPool(2);
 * try {
 *   await pool.digestPages({ key, input: file, firstPage: 0, count: 256, out });
 * } finally {
 *   await pool.close();
 * }
 */
export class HashPool implements PageHasher {
  readonly lanes: number;
  private readonly threads: readonly Thread[];
  private readonly waiting: (() => void)[] = [];
  /** Set when no more ranges are answered. */
  private end: Error | null = null;

  /** Starts `threads` threads, at least 1. */
  constructor(threads: number) {
    if (!Number.isInteger(threads) || threads < 1) throw new RangeError(`Cannot start ${threads} threads`);
    this.threads = Array.from({ length: threads }, () => this.start());
    this.lanes = threads * areasPerThread;
  }

  /**
   * Makes the digests of a range of a file that `withFile` or `openFile` opened. Throws FormatError "truncated" if the
   * file ends before the range does, SourceError if it cannot be read, RangeError for a range that is not possible,
   * and Error if the pool is closed.
   */
  async digestPages({ key, input, firstPage, count, out }: PageRange): Promise<void> {
    if (count < 1 || count > maxRangePages || out.length < count * digestBytes) {
      throw new RangeError(`Cannot hash ${count} pages into ${out.length} bytes`);
    }
    if (!isOpenFile(input))
      throw new TypeError("Cannot hash in another thread: the input is not an open file");
    const area = await this.takeArea();
    try {
      const { descriptor, sizeBytes } = input;
      await this.ask(area, { area: area.index, key, descriptor, sizeBytes, firstPage, count });
      out.set(area.digests.subarray(0, count * digestBytes));
    } finally {
      area.isTaken = false;
      this.waiting.shift()?.();
    }
  }

  /** Ends the threads. Ranges that are under way or waiting fail. */
  async close(): Promise<void> {
    this.fail(new Error("Cannot hash: the threads were ended"));
    await Promise.all(this.threads.map(({ worker }) => worker.terminate()));
  }

  private start(): Thread {
    const shared = Array.from(
      { length: areasPerThread },
      () => new SharedArrayBuffer(maxRangePages * digestBytes),
    );
    const setup: HashWorkerSetup = { areas: shared };
    const worker = new Worker(new URL("./hash-worker.js", import.meta.url), { workerData: setup });
    const thread: Thread = { worker, areas: [] };
    for (const [index, buffer] of shared.entries()) {
      thread.areas.push({ thread, index, digests: new Uint8Array(buffer), isTaken: false, settle: null });
    }
    worker.on("message", ({ area, failure }: HashAnswer) => {
      const { settle } = thread.areas[area];
      thread.areas[area].settle = null;
      settle?.(failure && errorOf(failure));
    });
    worker.on("error", (cause) => this.fail(new Error("Cannot hash: a thread failed", { cause })));
    worker.on("exit", () => this.fail(new Error("Cannot hash: a thread ended")));
    return thread;
  }

  /** An area of the thread that has the fewest ranges, as soon as there is one. */
  private async takeArea(): Promise<Area> {
    for (;;) {
      if (this.end !== null) throw this.end;
      const free = this.threads.map(({ areas }) => areas.filter(({ isTaken }) => !isTaken));
      const [area] = free.reduce((most, areas) => (areas.length > most.length ? areas : most));
      if (area !== undefined) {
        area.isTaken = true;
        return area;
      }
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  private async ask(area: Area, request: HashRequest): Promise<void> {
    if (this.end !== null) throw this.end;
    const failure = await new Promise<Error | null>((resolve) => {
      area.settle = resolve;
      area.thread.worker.postMessage(request);
    });
    if (failure !== null) throw failure;
  }

  private fail(error: Error): void {
    if (this.end !== null) return;
    this.end = error;
    for (const { areas } of this.threads) {
      for (const area of areas) {
        area.settle?.(error);
        area.settle = null;
      }
    }
    for (const wake of this.waiting.splice(0)) wake();
  }
}

function isOpenFile(input: RandomAccess): input is OpenFile {
  return typeof (input as Partial<OpenFile>).descriptor === "number";
}

/** The error that the thread had, as it would have been thrown here. */
function errorOf(failure: HashFailure): Error {
  switch (failure.kind) {
    case "format": {
      const { code, message, offset } = failure;
      // FormatError adds the offset to its message itself.
      return new FormatError(code, message.replace(/ \(at byte \d+\)$/, ""), offset);
    }
    case "source": {
      const { message, ...system } = failure.cause;
      return new SourceError(failure.message, { cause: Object.assign(new Error(message), system) });
    }
    default:
      return new Error(`Cannot hash: ${failure.message}`);
  }
}
