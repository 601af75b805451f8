/** A digest file on disk: sparse, of fixed length, and read and written synchronously at any position. */

import { closeSync, fstatSync, fsync, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { type DigestStorage, digestFileBytes } from "../../src/generation/block-digest-layout.ts";
import { OperationError } from "../errors.ts";
import { storeError } from "./atomic-file.ts";

const fsyncFile = promisify(fsync);

/** An open digest file. */
export class DigestFile implements DigestStorage {
  readonly path: string;
  private readonly file: number;
  private isOpen = true;

  private constructor(path: string, file: number) {
    this.path = path;
    this.file = file;
  }

  /**
   * Makes the file of a disk with `blocks` blocks, mode 0600, with no entry in it. Its name is not durable until the
   * directory is synced. Throws OperationError if there is such a file or the disk refuses.
   */
  static create(path: string, blocks: number): DigestFile {
    const bytes = digestFileBytes(blocks);
    const action = `Cannot make ${path}`;
    const file = guarded(action, () => openSync(path, "wx+", 0o600));
    try {
      ftruncateSync(file, bytes);
    } catch (error) {
      closeSync(file);
      rmSync(path, { force: true });
      throw storeError(action, error);
    }
    return new DigestFile(path, file);
  }

  /** Opens the file of a disk with `blocks` blocks. Throws OperationError if it is not there or its length is wrong. */
  static open(path: string, blocks: number, options: { writable: boolean }): DigestFile {
    const expected = digestFileBytes(blocks);
    const file = guarded(`Cannot open ${path}`, () => openSync(path, options.writable ? "r+" : "r"));
    const { size } = fstatSync(file);
    if (size === expected) return new DigestFile(path, file);
    closeSync(file);
    throw new OperationError("failed", `Cannot use ${path}: ${size} bytes, ${expected} expected`);
  }

  /** Fills `target` from position `at` on; beyond the end of the file with zeroes. Throws OperationError. */
  read(target: Uint8Array, at: number): void {
    let done = 0;
    while (done < target.length) {
      const got = guarded(`Cannot read ${this.path}`, () =>
        readSync(this.file, target, done, target.length - done, at + done),
      );
      if (got === 0) break;
      done += got;
    }
    target.fill(0, done);
  }

  /** Writes all of `bytes` at position `at`. Throws OperationError. */
  write(bytes: Uint8Array, at: number): void {
    let done = 0;
    while (done < bytes.length) {
      done += guarded(`Cannot write ${this.path}`, () =>
        writeSync(this.file, bytes, done, bytes.length - done, at + done),
      );
    }
  }

  /** Makes what was written durable. Throws OperationError. */
  async sync(): Promise<void> {
    try {
      await fsyncFile(this.file);
    } catch (error) {
      throw storeError(`Cannot write ${this.path}`, error);
    }
  }

  /** Closes the file; a second call does nothing. Writes nothing: see `sync`. */
  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    closeSync(this.file);
  }
}

function guarded<T>(action: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw storeError(action, error);
  }
}
