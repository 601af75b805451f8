/** Reading files for verification and inspection: never through a symbolic link. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { frameHeaderAt, type InputFrame } from "../../src/verify/input-frames.ts";
import { type RandomAccess, readFullySync } from "../../src/verify/random-access.ts";

export { windowBytes } from "../../src/verify/input-frames.ts";

/** A regular file that is open for reading. Other threads of the process can read from its descriptor, too. */
export interface OpenFile extends RandomAccess {
  readonly descriptor: number;
  readonly size: number;
  readSync(target: Uint8Array, at: number): number;
}

/** Opens a regular file. Close it. Throws Error if it is a symbolic link or not a regular file. */
export function openFile(path: string): OpenFile & { close(): void } {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const close = () => closeSync(descriptor);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FormatError("bad-value", `it is not a regular file`);
    const readOnce = (target: Uint8Array, at: number) => readSync(descriptor, target, 0, target.length, at);
    return { descriptor, size: stat.size, sizeBytes: stat.size, read: readOnce, readSync: readOnce, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Opens a regular file, runs `use`, closes it. Throws Error if it is a symbolic link or not a regular file. */
export async function withFile<T>(path: string, use: (file: OpenFile) => T | Promise<T>): Promise<T> {
  const file = openFile(path);
  try {
    return await use(file);
  } finally {
    file.close();
  }
}

/** Fills `target` from position `at` on. Throws FormatError if the file ends before, or SourceError. */
export function readFully(file: OpenFile, target: Uint8Array, at: number): void {
  readFullySync(file, target, at);
}

/** The frames of a file, one at a time. Throws FormatError where one does not follow, or SourceError. */
export function* framesOfFile(file: OpenFile): Generator<InputFrame> {
  const head = new Uint8Array(frameHeaderBytes);
  for (let at = 0; at < file.size; ) {
    const left = file.size - at;
    if (left >= frameHeaderBytes) readFully(file, head, at);
    const header = frameHeaderAt(head, at, left);
    const length = frameHeaderBytes + header.payloadBytes;
    const frame = new Uint8Array(length);
    readFully(file, frame, at);
    yield { at, header, frame };
    at += length;
  }
}
