/**
 * Makes page digests of dropped files in several workers, each with a core of its own. A file's slices go round: while one
 * worker waits for the browser to read, another hashes.
 *
 *     digestPages(range) ──► the worker of the range's slice: hash-worker.ts reads it, hashes ──► range.out
 */

import { pageBytes } from "../../../src/delta/vocabulary.ts";
import { FormatError } from "../../../src/errors.ts";
import { digestBytes } from "../../../src/generation/digest-tree.ts";
import { maxRangePages, type PageHasher, type PageRange } from "../../../src/verify/page-hashing.ts";
import { type RandomAccess, SourceError } from "../../../src/verify/random-access.ts";
import type { HashAnswer, HashFailure, HashMessage } from "./hash-messages.ts";
import { type BlobAccess, sliceBytes } from "./read-ahead.ts";

const mostWorkers = 4;
/** Each worker has a slice's ranges under way. */
const rangesPerWorker = sliceBytes / (maxRangePages * pageBytes);

/** As much of a Worker as the pool needs. */
export interface HashPort {
  postMessage(message: HashMessage): void;
  addEventListener(type: "message", hear: (event: { readonly data: HashAnswer }) => void): void;
  addEventListener(type: "error", hear: () => void): void;
}

/** How many workers are good for a machine with so many processors: one more, as one always waits for a read. */
export function workersFor(processors: number): number {
  return Math.min(processors + 1, mostWorkers);
}

/** Workers that make page digests. They stay for the next verification; what they hold of files goes with `rest`. */
export class HashPool implements PageHasher {
  readonly lanes: number;
  private readonly ports: readonly HashPort[];
  private readonly waiting = new Map<number, (answer: HashAnswer | Error) => void>();
  private readonly files = new WeakMap<Blob, number>();
  private lastFile = 0;
  private lastId = 0;
  /** Set when a worker cannot work any more. */
  private end: Error | null = null;

  /** Gives each worker the core's module. */
  constructor(ports: readonly HashPort[], module: WebAssembly.Module) {
    this.ports = ports;
    this.lanes = ports.length * rangesPerWorker;
    for (const port of ports) {
      port.addEventListener("message", ({ data }) => this.settle(data.id, data));
      port.addEventListener("error", () => this.fail());
      port.postMessage({ type: "module", module });
    }
  }

  /**
   * Makes the digests of a range of a file that ReadAhead gives access to. Throws FormatError "truncated" if the file ends
   * before the range does, SourceError if it cannot be read, RangeError for a range that is not possible, TypeError for
   * another input, and Error if a worker failed.
   */
  async digestPages({ key, input, firstPage, count, out }: PageRange): Promise<void> {
    if (count < 1 || count > maxRangePages || out.length < count * digestBytes) {
      throw new RangeError(`Cannot hash ${count} pages into ${out.length} bytes`);
    }
    if (!isBlobAccess(input)) throw new TypeError("Cannot hash in a worker: the input is not a dropped file");
    if (this.end !== null) throw this.end;
    const { blob } = input;
    const slice = Math.floor((firstPage * pageBytes) / sliceBytes);
    const port = this.ports[slice % this.ports.length];
    const id = ++this.lastId;
    const answer = await new Promise<HashAnswer | Error>((resolve) => {
      this.waiting.set(id, resolve);
      port.postMessage({ type: "hash", id, file: this.numberOf(blob), blob, key, firstPage, count });
    });
    if (answer instanceof Error) throw answer;
    if ("failure" in answer) throw errorOf(answer.failure);
    out.set(answer.digests);
  }

  /** To be called when a verification is over: the workers let go of what they read. */
  rest(): void {
    for (const port of this.ports) port.postMessage({ type: "rest" });
  }

  private numberOf(blob: Blob): number {
    const number = this.files.get(blob) ?? ++this.lastFile;
    this.files.set(blob, number);
    return number;
  }

  private settle(id: number, answer: HashAnswer | Error): void {
    const resolve = this.waiting.get(id);
    this.waiting.delete(id);
    resolve?.(answer);
  }

  private fail(): void {
    this.end ??= new Error("Reload the page: one of its workers failed");
    for (const id of [...this.waiting.keys()]) this.settle(id, this.end);
  }
}

function isBlobAccess(input: RandomAccess): input is BlobAccess {
  return (input as Partial<BlobAccess>).blob instanceof Blob;
}

/** The error that the worker had, as it would have been thrown here. */
function errorOf({ kind, message, code }: HashFailure): Error {
  if (kind === "format" && code !== undefined) return new FormatError(code, message);
  return kind === "source" ? new SourceError(message) : new Error(`Cannot hash: ${message}`);
}
