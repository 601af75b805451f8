/**
 * Results in a folder, a file for each, so that a benchmark that takes long can be stopped and goes on later:
 *
 *     FOLDER/NAME.json   {"key": …, "result": …}
 *
 * The key says what was measured and with what. A file with another key, or one that cannot be read, counts as not there.
 */

import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What makes a result another one: parameters and versions, as JSON has them. */
export type ResultKey = Readonly<Record<string, unknown>>;

/** Results of one kind. */
export class ResultStore<Result> {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Makes the folder if it is not there; `fresh`: what results it has are removed. */
  static open<Result>(folder: string, options: { readonly fresh: boolean }): ResultStore<Result> {
    mkdirSync(folder, { recursive: true });
    if (options.fresh) {
      for (const name of readdirSync(folder)) if (isResult(folder, name)) rmSync(join(folder, name));
    }
    return new ResultStore(folder);
  }

  /** The result of that name if it has that key, else null. */
  read(name: string, key: ResultKey): Result | null {
    const stored = readStored(this.path(name));
    return stored !== null && textOf(stored.key) === textOf(key) ? (stored.result as Result) : null;
  }

  /** Keeps a result in place of an earlier one; a crash leaves either. */
  write(name: string, key: ResultKey, result: Result): void {
    const path = this.path(name);
    writeFileSync(`${path}.new`, `${JSON.stringify({ key, result }, undefined, 2)}\n`);
    renameSync(`${path}.new`, path);
  }

  private path(name: string): string {
    return join(this.folder, `${name}.json`);
  }
}

function readStored(path: string): { readonly key: unknown; readonly result: unknown } | null {
  try {
    const stored: unknown = JSON.parse(readFileSync(path, "utf8"));
    const isStored = typeof stored === "object" && stored !== null && "key" in stored && "result" in stored;
    return isStored ? (stored as { key: unknown; result: unknown }) : null;
  } catch {
    return null;
  }
}

/** The folder may be one that somebody else uses, too: only what looks as ours is ours. */
function isResult(folder: string, name: string): boolean {
  return name.endsWith(".json") && readStored(join(folder, name)) !== null;
}

/** The same for objects whose members are in another order. */
function textOf(value: unknown): string {
  return JSON.stringify(value, (_name, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
