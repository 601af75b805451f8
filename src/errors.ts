/** Errors of the portable part: one class for bad bytes, with a code that programs can test. */

/** What was wrong with bytes that came from outside. */
export type FormatErrorCode =
  | "truncated"
  | "bad-magic"
  | "bad-version"
  | "bad-checksum"
  | "bad-length"
  | "bad-value"
  | "unsupported"
  | "mismatch";

/**
 * Bytes from outside (a stream, a frame, a file) do not follow their format.
 * `offset` is the position in the input in bytes, where it is known.
 */
export class FormatError extends Error {
  override readonly name = "FormatError";
  readonly code: FormatErrorCode;
  readonly offset: number | undefined;

  constructor(code: FormatErrorCode, message: string, offset?: number) {
    super(offset === undefined ? message : `${message} (at byte ${offset})`);
    this.code = code;
    this.offset = offset;
  }
}
