/** Tells what is wrong with the files from what is wrong with the program. */

import * as portable from "../../src/verify/damage.ts";
import { OperationError } from "../errors.ts";
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
  return await portable.orFinding(log, about, action, isDamage);
}

/** True if the error says that bytes or files are not as they must be. */
export function isDamage(error: unknown): boolean {
  if (portable.isDamage(error) || error instanceof OperationError) return true;
  return typeof (error as NodeJS.ErrnoException)?.syscall === "string";
}
