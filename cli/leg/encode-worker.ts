/**
 * A thread of the encode pool: digests and compresses the pages of a batch, and writes them to the image of this
 * site's own copy, one batch at a time.
 */

import { openSync, writeSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { parentPort, workerData } from "node:worker_threads";
import { loadCore } from "../../src/core.ts";
import { BatchEncoder, type PageBatch, type UnnumberedFrame } from "../../src/delta/batch-encoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { messageOf } from "../errors.ts";
import { loadZstd } from "../zstd.ts";
import { batchPages, openSlot } from "./batch-slot.ts";
import { type CodecPlan, type CodecSample, PlannedCodec } from "./codec-run.ts";

/** Memory of the thread's core: the windows of an encoder and of a batch. */
const coreBytes = 8 << 20;

/** What the thread is started with. */
export interface EncodeWorkerSetup {
  readonly module: WebAssembly.Module;
  readonly key: Uint8Array;
  readonly isBaseZero: boolean;
  readonly hasZstd: boolean;
  readonly sealAtBytes: number;
  /** The image that pages are written to. */
  readonly imagePath: string;
}

/** A batch that the thread is asked for. */
export interface EncodeRequest {
  readonly slot: SharedArrayBuffer;
  readonly region: number;
  /** First page of the region in the image. */
  readonly firstPage: number;
  readonly count: number;
  readonly plan: CodecPlan;
}

/** What the thread says: once that it is ready, then of each batch, in their order. */
export type EncodeAnswer =
  | { readonly kind: "ready" }
  | {
      readonly kind: "done";
      readonly frames: readonly UnnumberedFrame[];
      /** By payload. */
      readonly samples: readonly (readonly CodecSample[])[];
    }
  | { readonly kind: "failed"; readonly message: string; readonly code: string | null };

const port = parentPort;
if (port === null) throw new Error("Cannot encode: this is not a worker thread");
const { module, key, isBaseZero, hasZstd, sealAtBytes, imagePath } = workerData as EncodeWorkerSetup;
const core = await loadCore({
  wasm: module,
  initialBytes: coreBytes,
  ...(hasZstd ? { zstd: await loadZstd() } : {}),
});
const codec = new PlannedCodec(core, () => performance.now());
const { choose } = codec;
const encoder = new BatchEncoder(core, { key, isBaseZero, maxPages: batchPages, sealAtBytes, choose });
// A descriptor of its own: it is closed when the thread ends, and never before.
const image = openSync(imagePath, "r+");

port.on("message", (request: EncodeRequest) => {
  try {
    const answer = encode(request);
    port.postMessage(
      answer,
      answer.frames.map(({ frame }) => frame.buffer),
    );
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? null;
    port.postMessage({ kind: "failed", message: messageOf(error), code } satisfies EncodeAnswer);
  }
});
port.postMessage({ kind: "ready" } satisfies EncodeAnswer);

function encode({ slot, region, firstPage, count, plan }: EncodeRequest) {
  const { pages, wishes, digests, kinds, contents } = openSlot(slot);
  core.bytes().set(contents.subarray(0, count * pageBytes), encoder.contents);
  const batch: PageBatch = { region, count, pages, wishes, digests, kinds };
  codec.follow(plan);
  const frames = encoder.encode(batch);
  write(batch, firstPage);
  return { kind: "done", frames, samples: codec.samples.splice(0) } as const;
}

/** Writes what was not left out, page runs at once. */
function write({ count, pages, kinds }: PageBatch, firstPage: number): void {
  for (let i = 0; i < count; ) {
    let run = 1;
    if (kinds[i] !== 0) {
      while (i + run < count && kinds[i + run] !== 0 && pages[i + run] === pages[i] + run) run++;
      const lengthBytes = run * pageBytes;
      for (let at = 0; at < lengthBytes; ) {
        const from = encoder.contents + i * pageBytes + at;
        at += writeSync(image, core.bytes(), from, lengthBytes - at, (firstPage + pages[i]) * pageBytes + at);
      }
    }
    i += run;
  }
}
