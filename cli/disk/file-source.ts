/** What reading a disk image needs of Node: files, and deflate. */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { inflateRawSync } from "node:zlib";
import type { ByteSource } from "../../src/disk/byte-source.ts";
import type { Decompressors } from "../../src/disk/qcow2-image.ts";
import { FormatError } from "../../src/errors.ts";

/** The system reads at most 2 GiB less a page in one call. */
const maxReadBytes = 1 << 30;

/** How a file is opened. */
export interface FileSourceOptions {
  /** Whether `path` may be a symbolic link; default true. Its folders may be links either way. */
  readonly followLink?: boolean;
}

/**
 * Opens a regular file for reading. Throws Node's system error if it cannot be opened (ELOOP: it is a link and must
 * not be one), FormatError "bad-value" if it is not a regular file.
 */
export function openFileSource(path: string, { followLink = true }: FileSourceOptions = {}): ByteSource {
  // O_NONBLOCK: opening a pipe must not wait for its other end.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (followLink ? 0 : constants.O_NOFOLLOW);
  const descriptor = openSync(path, flags);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new FormatError("bad-value", `Cannot read ${path}: it is not a regular file`);
    return new FileSource(descriptor, stat.size);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Node's part of opening an image. It has no zstd before version 22.15. */
export const nodeDecompressors: Decompressors = {
  // One byte more: the last chunk then never fills up, which would make Node allocate another one.
  inflateRaw: (bytes, maxBytes) =>
    inflateRawSync(bytes, { maxOutputLength: maxBytes, chunkSize: maxBytes + 1 }),
};

class FileSource implements ByteSource {
  readonly sizeBytes: number;
  private descriptor: number;

  constructor(descriptor: number, sizeBytes: number) {
    this.descriptor = descriptor;
    this.sizeBytes = sizeBytes;
  }

  read(memory: Uint8Array, target: number, length: number, at: number): number {
    let done = 0;
    while (done < length) {
      const part = Math.min(length - done, maxReadBytes);
      const got = readSync(this.descriptor, memory, target + done, part, at + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  close(): void {
    // A number that was closed may soon name another file: never close it twice.
    if (this.descriptor >= 0) closeSync(this.descriptor);
    this.descriptor = -1;
  }
}
