/** The negative results of the WASM core, and the one place that turns them into errors. Mirrors assembly/codes.ts. */
import { FormatError, type FormatErrorCode } from "../errors.ts";

/** Negative results by name. */
export const CoreCode = {
  truncated: -1,
  overrun: -2,
  badOffset: -3,
  shortOutput: -4,
  zeroMask: -5,
} as const;

const meanings: Record<number, readonly [code: FormatErrorCode, cause: string] | undefined> = {
  [CoreCode.truncated]: ["truncated", "the input ends inside an item"],
  [CoreCode.overrun]: ["bad-length", "an item is longer than the output has room for"],
  [CoreCode.badOffset]: ["bad-value", "a back reference points outside the window"],
  [CoreCode.shortOutput]: ["bad-length", "the input ended before the output was full"],
  [CoreCode.zeroMask]: ["bad-value", "a change mask is zero"],
};

/**
 * Returns `result` if it is a length, and throws a FormatError if it is a negative code.
 * `action` begins the message ("decompress the literals"); `offset` is where in the input the item began, in bytes.
 */
export function checkCoreResult(result: number, action: string, offset?: number): number {
  if (result >= 0) return result;
  const [code, cause] = meanings[result] ?? ["bad-value", `unknown result ${result}`];
  throw new FormatError(code, `Cannot ${action}: ${cause}`, offset);
}
