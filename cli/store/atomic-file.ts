/** Files that are either whole or absent: written beside, synced, renamed. */

import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { OperationError } from "../errors.ts";

/** Prefix of names that were never completed; a sweep may remove them. */
export const partialPrefix = ".partial-";

/**
 * Puts `content` at `path` durably: after the promise resolves the file survives a power loss, and
 * before that the old file, if any, is untouched. Mode 0600. Throws OperationError if the disk refuses.
 */
export async function writeFileAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const beside = join(dirname(path), `${partialPrefix}${basename(path)}-${randomUUID()}`);
  try {
    const file = await open(beside, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(beside, { force: true });
    throw storeError(`Cannot write ${path}`, error);
  }
}

/** Makes renames and new names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** An operational error for a failed write, which says what to do when the disk is full. */
export function storeError(action: string, error: unknown): OperationError {
  if (error instanceof OperationError) return error;
  const code = (error as NodeJS.ErrnoException)?.code;
  const cause = error instanceof Error ? error.message : String(error);
  const advice =
    code === "ENOSPC" || code === "EDQUOT"
      ? "the disk is full: free space or prune generations with 'bfmig prune'"
      : cause;
  return new OperationError("failed", `${action}: ${advice}`, { cause: error });
}
