/** Tells what is wrong with the files from what is wrong with the program. */

import { FormatError } from "../errors.ts";
import { SourceError } from "./random-access.ts";
import type { FindingLog } from "./report.ts";

/**
 * Runs `action`; what it throws because of the files becomes a finding, and the result is null. Everything else is
 * thrown on.
 */
export async function orFinding<T>(
  log: FindingLog,
  about: { readonly path: string; readonly generation?: number },
  action: () => T | Promise<T>,
  isAboutFiles: (error: unknown) => boolean = isDamage,
): Promise<T | null> {
  try {
    return await action();
  } catch (error) {
    if (!isAboutFiles(error)) throw error;
    const offset = error instanceof FormatError && error.offset !== undefined ? { offset: error.offset } : {};
    log.add({ ...about, ...offset, problem: error instanceof Error ? error.message : String(error) });
    return null;
  }
}

/** True if the error says that bytes are not as they must be, or cannot be read. */
export function isDamage(error: unknown): boolean {
  return error instanceof FormatError || error instanceof SourceError;
}
