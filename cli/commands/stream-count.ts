/** `--streams`. */

import { OperationError } from "../errors.ts";
import { maxStreams } from "../wan/messages.ts";

/** How many connections a leg may use. Throws OperationError "usage". */
export function streamCount(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= maxStreams) return value;
  throw new OperationError(
    "usage",
    `Cannot use ${JSON.stringify(text.slice(0, 80))} streams: a whole number from 1 to ${maxStreams} is needed`,
  );
}
