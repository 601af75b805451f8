/**
 * A worker of the hash pool: reads ranges of files and makes the digests of their pages, one range at a time.
 *
 * It reads at once (FileReaderSync), not asynchronously: the parts of an asynchronous read arrive only while the worker does
 * nothing else, so one that hashes would not read meanwhile. What overlaps is one worker's reading with another's hashing.
 */

import { bytesEqual } from "../../../src/bytes.ts";
import { loadCore } from "../../../src/core.ts";
import { FormatError } from "../../../src/errors.ts";
import { digestBytes } from "../../../src/generation/digest-tree.ts";
import { CorePageHasher } from "../../../src/verify/page-hashing.ts";
import { type RandomAccess, SourceError } from "../../../src/verify/random-access.ts";
import type { HashAnswer, HashFailure, HashMessage, HashRequest } from "./hash-messages.ts";
import { sliceBytes } from "./read-ahead.ts";

/** What was read last. The next range is most often in it, too. */
interface Slice {
  readonly file: number;
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** As much of it as is used here: the types of a page do not have it. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

let hasher: Promise<CorePageHasher> | null = null;
/** The hasher keeps what belongs to a key as long as it is given the same array. */
let lastKey = new Uint8Array(0);
let held: Slice | null = null;

self.addEventListener("message", ({ data }: MessageEvent<HashMessage>) => {
  if (data.type === "module") {
    hasher = loadCore({ wasm: data.module }).then((core) => new CorePageHasher(core));
    // Told with the first range that needs it.
    hasher.catch(() => {});
  } else if (data.type === "rest") held = null;
  else void answer(data);
});

async function answer(request: HashRequest): Promise<void> {
  const { id, file, blob, firstPage, count } = request;
  try {
    if (hasher === null) throw new Error("the module has not come");
    if (!bytesEqual(lastKey, request.key)) lastKey = request.key.slice();
    const out = new Uint8Array(count * digestBytes);
    await (await hasher).digestPages({
      key: lastKey,
      input: accessSlices(file, blob),
      firstPage,
      count,
      out,
    });
    tell({ id, digests: out }, [out.buffer]);
  } catch (error) {
    tell({ id, failure: failureOf(error) });
  }
}

/** A read ends with its slice at the latest. */
function accessSlices(file: number, blob: Blob): RandomAccess {
  const readSync = (target: Uint8Array, at: number): number => {
    const index = Math.floor(at / sliceBytes);
    if (held?.file !== file || held.index !== index) {
      // The last slice may go before the next one comes.
      held = null;
      const part = blob.slice(index * sliceBytes, (index + 1) * sliceBytes);
      held = { file, index, bytes: new Uint8Array(new FileReaderSync().readAsArrayBuffer(part)) };
    }
    const from = at - index * sliceBytes;
    const part = held.bytes.subarray(from, from + target.length);
    target.set(part);
    return part.length;
  };
  return { sizeBytes: blob.size, read: readSync, readSync };
}

function failureOf(error: unknown): HashFailure {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof FormatError) return { kind: "format", message, code: error.code };
  return { kind: error instanceof SourceError ? "source" : "broken", message };
}

function tell(message: HashAnswer, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}
