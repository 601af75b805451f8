/** Numbers of generations on the command line. */

import { OperationError } from "../errors.ts";

/** A whole number from 1 on. Throws OperationError "usage" for anything else. */
export function generationNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= 1) return value;
  throw new OperationError(
    "usage",
    `Cannot use ${JSON.stringify(text.slice(0, 80))} as a generation: a whole number from 1 on is needed`,
  );
}
