/** Tells what is wrong with the files from what is wrong with the program. */

import { FormatError } from "../../src/errors.ts";
import { messageOf, OperationError } from "../errors.ts";
import type { FindingLog } from "./report.ts";

/**
 * Runs `action`; what it throws because of the files becomes a finding, and the result is null. Everything
 * else is thrown on.
 */
export async function orFinding<T>(
  log: FindingLog,
  about: { readonly path: string; readonly generation?: number },
  action: () => T | Promise<T>,
): Promise<T | null> {
  try {
    return await action();
  } catch (error) {
    if (!isDamage(error)) throw error;
    const offset = error instanceof FormatError && error.offset !== undefined ? { offset: error.offset } : {};
    log.add({ ...about, ...offset, problem: messageOf(error) });
    return null;
  }
}

/** True if the error says that bytes or files are not as they must be. */
export function isDamage(error: unknown): boolean {
  if (error instanceof FormatError || error instanceof OperationError) return true;
  return typeof (error as NodeJS.ErrnoException)?.syscall === "string";
}
