/** Reading files for verification: never through a symbolic link, a window at a time. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import type { Core } from "../../src/core.ts";
import { decodeFrameHeader, type FrameHeader } from "../../src/delta/frame.ts";
import { frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";

/** Bytes that are read at a time. */
export const windowBytes = 1 << 20;

/** A regular file that is open for reading. */
export interface OpenFile {
  readonly descriptor: number;
  readonly size: number;
}

/** Opens a regular file, runs `use`, closes it. Throws Error if it is a symbolic link or not a regular file. */
export async function withFile<T>(path: string, use: (file: OpenFile) => T | Promise<T>): Promise<T> {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FormatError("bad-value", `it is not a regular file`);
    return await use({ descriptor, size: stat.size });
  } finally {
    closeSync(descriptor);
  }
}

/** Fills `target` from position `at` on. Throws FormatError if the file ends before. */
export function readFully(file: OpenFile, target: Uint8Array, at: number): void {
  for (let done = 0; done < target.length; ) {
    const got = readSync(file.descriptor, target, done, target.length - done, at + done);
    if (got === 0) {
      throw new FormatError(
        "truncated",
        `Cannot read ${target.length} bytes: the file ends before`,
        at + done,
      );
    }
    done += got;
  }
}

/** Unkeyed BLAKE3-256 of a file. */
export function digestFile(core: Core, file: OpenFile): Uint8Array {
  const hasher = core.createHasher();
  try {
    const window = new Uint8Array(Math.min(windowBytes, file.size));
    for (let at = 0; at < file.size; at += window.length) {
      const part = window.subarray(0, Math.min(window.length, file.size - at));
      readFully(file, part, at);
      hasher.update(part);
    }
    return hasher.digest(32);
  } finally {
    hasher.release();
  }
}

/** A frame in a file. */
export interface FileFrame {
  readonly at: number;
  readonly header: FrameHeader;
  /** Header and payload; not yet checked beyond the header. */
  readonly frame: Uint8Array;
}

/** The frames of a file, one at a time. Throws FormatError where one does not follow. */
export function* framesOfFile(file: OpenFile): Generator<FileFrame> {
  const head = new Uint8Array(frameHeaderBytes);
  for (let at = 0; at < file.size; ) {
    const left = file.size - at;
    if (left < frameHeaderBytes) {
      throw new FormatError("truncated", `Cannot read frame header: ${left} bytes are left`, at);
    }
    readFully(file, head, at);
    const header = headerAt(head, at);
    const length = frameHeaderBytes + header.payloadBytes;
    if (length > left) {
      throw new FormatError("truncated", `Cannot read frame ${header.sequence}: it ends beyond the file`, at);
    }
    const frame = new Uint8Array(length);
    readFully(file, frame, at);
    yield { at, header, frame };
    at += length;
  }
}

/** Decodes a header that was read on its own; errors name its position in the file. */
function headerAt(head: Uint8Array, at: number): FrameHeader {
  try {
    return decodeFrameHeader(head);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(error.code, error.message.replace(/ \(at byte \d+\)$/, ""), at);
  }
}
