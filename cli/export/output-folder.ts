/** The folder that an export fills: every file is written beside, and all get their names together at the end. */

import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, ftruncateSync, lstatSync, openSync, rmSync, writeSync } from "node:fs";
import { realpath, rename } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import type { ByteSink } from "../../src/disk/qcow2-writer.ts";
import { OperationError } from "../errors.ts";
import { partialPrefix, storeError, syncDirectory } from "../store/atomic-file.ts";
import { makeFolder } from "../store/folder.ts";

/** A file that is being written; bytes that are never written read as zero and take no room. */
export class OutputFile implements ByteSink {
  readonly name: string;
  readonly path: string;
  /** Where it lies until it gets its name. */
  readonly partialPath: string;
  private readonly descriptor: number;
  private end = 0;

  constructor(folder: string, name: string) {
    this.name = name;
    this.path = join(folder, name);
    this.partialPath = join(folder, `${partialPrefix}${name}-${randomUUID()}`);
    this.descriptor = guarded(this.path, () => openSync(this.partialPath, "wx", 0o600));
  }

  write(bytes: Uint8Array, at: number): void {
    guarded(this.path, () => {
      for (let done = 0; done < bytes.length; ) {
        done += writeSync(this.descriptor, bytes, done, bytes.length - done, at + done);
      }
    });
    this.end = Math.max(this.end, at + bytes.length);
  }

  /** Writes behind what was written so far. */
  append(bytes: Uint8Array): void {
    this.write(bytes, this.end);
  }

  /** Sets the length: what was not written up to there reads as zero. */
  setLength(bytes: number): void {
    guarded(this.path, () => ftruncateSync(this.descriptor, bytes));
    this.end = bytes;
  }

  get lengthBytes(): number {
    return this.end;
  }

  sync(): void {
    guarded(this.path, () => fsyncSync(this.descriptor));
  }

  close(): void {
    closeSync(this.descriptor);
  }
}

/** The files of one export. */
export class OutputFolder {
  readonly path: string;
  private readonly files: OutputFile[] = [];

  private constructor(path: string) {
    this.path = path;
  }

  /**
   * Makes the folder if it is missing. Throws OperationError "refused" if it lies in the folder `source`, which is only
   * read, or if one of `names` is there already, unless `force` lets it be replaced.
   */
  static async open(
    path: string,
    names: readonly string[],
    { force, source }: { readonly force: boolean; readonly source: string },
  ): Promise<OutputFolder> {
    if (path === "") throw new OperationError("usage", "Cannot write files: --out names no folder");
    const way = relative(await realpath(source), await futurePath(resolve(path)));
    if (way !== ".." && !way.startsWith("../")) {
      throw new OperationError(
        "refused",
        `Cannot write to ${path}: it lies in ${source}, which is only read; use a folder elsewhere`,
      );
    }
    await makeFolder(path).catch((error: unknown) => {
      throw storeError(`Cannot write to ${path}`, error);
    });
    const found = names.map((name) => ({
      name,
      stat: lstatSync(join(path, name), { throwIfNoEntry: false }),
    }));
    const folder = found.find(({ stat }) => stat?.isDirectory());
    if (folder) {
      throw new OperationError(
        "refused",
        `Cannot write to ${path}: ${folder.name} is a folder; use another one`,
      );
    }
    const present = found.filter(({ stat }) => stat !== undefined).map(({ name }) => name);
    if (present.length > 0 && !force) {
      throw new OperationError(
        "refused",
        `Cannot write to ${path}: ${present.join(", ")} would be replaced; use another folder, or --force`,
      );
    }
    return new OutputFolder(path);
  }

  /** Begins a file. */
  create(name: string): OutputFile {
    const file = new OutputFile(this.path, name);
    this.files.push(file);
    return file;
  }

  /** Makes all files durable and gives them their names. */
  async commit(): Promise<void> {
    for (const file of this.files) file.sync();
    for (const file of this.files.splice(0)) {
      file.close();
      await rename(file.partialPath, file.path).catch((error: unknown) => {
        throw storeError(`Cannot write ${file.path}`, error);
      });
    }
    await syncDirectory(this.path).catch((error: unknown) => {
      throw storeError(`Cannot write to ${this.path}`, error);
    });
  }

  /** Removes what has no name yet. */
  discard(): void {
    for (const file of this.files.splice(0)) {
      file.close();
      rmSync(file.partialPath, { force: true });
    }
  }
}

/** What a path will lead to when the folders that are missing have been made. */
async function futurePath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return dirname(path) === path ? path : join(await futurePath(dirname(path)), basename(path));
  }
}

function guarded<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const isFull = (error as NodeJS.ErrnoException)?.code === "ENOSPC";
    if (isFull)
      throw new OperationError("failed", `Cannot write ${path}: the disk is full`, { cause: error });
    throw storeError(`Cannot write ${path}`, error);
  }
}
