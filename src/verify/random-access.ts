/** Bytes that can be read at any position, so that a verifier need not know whether they are a file, a Blob or a server's. */

import { FormatError } from "../errors.ts";

/** Bytes that can be read at any position: a file, a Blob, an ArrayBuffer, a server that answers range requests. */
export interface RandomAccess {
  readonly sizeBytes: number;
  /** Fills `target` from position `at`; resolves with the number of bytes read, less than asked only at the end. */
  read(target: Uint8Array, at: number): Promise<number> | number;
  /** The same at once, where nothing needs to be waited for. Only here `target` may be memory of a core. */
  readSync?(target: Uint8Array, at: number): number;
}

/** A source could not be read: the cause is the error that it gave. */
export class SourceError extends Error {
  override readonly name = "SourceError";
}

/** Source over bytes in memory, which are not copied. */
export function accessBytes(bytes: Uint8Array | ArrayBuffer): RandomAccess {
  const all = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const readSync = (target: Uint8Array, at: number): number => {
    const part = all.subarray(at, at + target.length);
    target.set(part);
    return part.length;
  };
  return { sizeBytes: all.length, read: readSync, readSync };
}

/**
 * Source over a Blob or File, of which only the slices that are asked for are read.
 *
 * @example
 * const input = accessBlob(fileInput.files[0]);
 */
export function accessBlob(blob: {
  readonly size: number;
  slice(from: number, to: number): { arrayBuffer(): Promise<ArrayBuffer> };
}): RandomAccess {
  return {
    sizeBytes: blob.size,
    read: async (target, at) => {
      const to = Math.min(at + target.length, blob.size);
      const part = new Uint8Array(await blob.slice(at, to).arrayBuffer());
      target.set(part.subarray(0, target.length));
      return Math.min(part.length, target.length);
    },
  };
}

/**
 * Source over an open file of `sizeBytes` bytes with the shape of Node's FileHandle. It is not closed.
 *
 * @example
 * const handle = await open("ram.img"); // node:fs/promises
 * const input = accessFileHandle(handle, (await handle.stat()).size);
 * // Deno: `file` is a Deno.FsFile, whose reads go on from its position
 * const other: RandomAccess = {
 *   sizeBytes: (await file.stat()).size,
 *   read: async (target, at) => {
 *     await file.seek(at, Deno.SeekMode.Start);
 *     return (await file.read(target)) ?? 0;
 *   },
 * };
 */
export function accessFileHandle(
  handle: {
    read(
      target: Uint8Array,
      from: number,
      length: number,
      at: number,
    ): Promise<{ readonly bytesRead: number }>;
  },
  sizeBytes: number,
): RandomAccess {
  return {
    sizeBytes,
    read: async (target, at) => (await handle.read(target, 0, target.length, at)).bytesRead,
  };
}

/** Fills `target` from position `at` on. Throws FormatError "truncated" if the source ends before, or SourceError. */
export async function readFully(input: RandomAccess, target: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const got = await guarded(() => input.read(target.subarray(done), at + done));
    if (got <= 0) endsBefore(target.length, at + done);
    done += got;
  }
}

/** Like `readFully`, for a source that can be read at once. */
export function readFullySync(
  input: Required<Pick<RandomAccess, "readSync">>,
  target: Uint8Array,
  at: number,
): void {
  for (let done = 0; done < target.length; ) {
    let got: number;
    try {
      got = input.readSync(target.subarray(done), at + done);
    } catch (cause) {
      throw sourceError(cause);
    }
    if (got <= 0) endsBefore(target.length, at + done);
    done += got;
  }
}

/** True if the source can be read at once. */
export function isImmediate(
  input: RandomAccess,
): input is RandomAccess & Required<Pick<RandomAccess, "readSync">> {
  return input.readSync !== undefined;
}

async function guarded<T>(action: () => Promise<T> | T): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw sourceError(cause);
  }
}

function sourceError(cause: unknown): Error {
  if (cause instanceof FormatError || cause instanceof SourceError) return cause;
  return new SourceError(cause instanceof Error ? cause.message : String(cause), { cause });
}

function endsBefore(length: number, at: number): never {
  throw new FormatError("truncated", `Cannot read ${length} bytes: the file ends before`, at);
}
