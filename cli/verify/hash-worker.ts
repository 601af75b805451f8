/** A thread of the hash pool: reads ranges of files and makes the digests of their pages, one range at a time. */

import { readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { bytesEqual } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { FormatError, type FormatErrorCode } from "../../src/errors.ts";
import { CorePageHasher } from "../../src/verify/page-hashing.ts";
import { type RandomAccess, SourceError } from "../../src/verify/random-access.ts";
import { messageOf } from "../errors.ts";

/** What the thread is started with. */
export interface HashWorkerSetup {
  /** One area for the digests of a range for each range that may be under way. */
  readonly areas: readonly SharedArrayBuffer[];
}

/** A range that the thread is asked for. */
export interface HashRequest {
  /** Area that gets the digests. */
  readonly area: number;
  readonly key: Uint8Array;
  readonly descriptor: number;
  readonly sizeBytes: number;
  readonly firstPage: number;
  readonly count: number;
}

/** Why a range has no digests, in a form that can be posted. */
export type HashFailure =
  | {
      readonly kind: "format";
      readonly code: FormatErrorCode;
      readonly message: string;
      readonly offset?: number;
    }
  | { readonly kind: "source"; readonly message: string; readonly cause: SystemFailure }
  | { readonly kind: "broken"; readonly message: string };

/** What Node says of a failed call of the system. */
export interface SystemFailure {
  readonly message: string;
  readonly code?: string;
  readonly errno?: number;
  readonly syscall?: string;
}

/** What the thread answers for an area. */
export interface HashAnswer {
  readonly area: number;
  /** Null if the digests are there. */
  readonly failure: HashFailure | null;
}

const port = parentPort;
if (port === null) throw new Error("Cannot hash: this is not a worker thread");
const areas = (workerData as HashWorkerSetup).areas.map((shared) => new Uint8Array(shared));
const core = await loadCore();
const hasher = new CorePageHasher(core);
/** The hasher keeps what belongs to a key as long as it is given the same array. */
let lastKey = new Uint8Array(0);

port.on("message", async (request: HashRequest) => {
  const { area, descriptor, sizeBytes, firstPage, count } = request;
  if (!bytesEqual(lastKey, request.key)) lastKey = request.key.slice();
  let failure: HashFailure | null = null;
  try {
    const input = accessDescriptor(descriptor, sizeBytes);
    await hasher.digestPages({ key: lastKey, input, firstPage, count, out: areas[area] });
  } catch (error) {
    failure = failureOf(error);
  }
  port.postMessage({ area, failure } satisfies HashAnswer);
});

/** The threads of a process share its descriptors. Windows are read straight into the core's memory. */
function accessDescriptor(descriptor: number, sizeBytes: number): RandomAccess {
  const readOnce = (target: Uint8Array, at: number) => readSync(descriptor, target, 0, target.length, at);
  return { sizeBytes, read: readOnce, readSync: readOnce };
}

function failureOf(error: unknown): HashFailure {
  const message = messageOf(error);
  if (error instanceof FormatError) {
    const { code, offset } = error;
    return offset === undefined
      ? { kind: "format", code, message }
      : { kind: "format", code, message, offset };
  }
  if (error instanceof SourceError) {
    const { code, errno, syscall } = error.cause as NodeJS.ErrnoException;
    return { kind: "source", message, cause: { message: messageOf(error.cause), code, errno, syscall } };
  }
  return { kind: "broken", message };
}
