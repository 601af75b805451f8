/** Operational errors of the command line, and the exit codes they end in. */

/** Exit codes of `bfmig`; anything else means failure. */
export const ExitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  aborted: 3,
  inDoubt: 4,
  verificationFailed: 5,
  refused: 6,
} as const;

/** Name of an exit code. */
export type ExitReason = keyof typeof ExitCode;

/** Something that an operator must know about: what was attempted, why it failed, how the program ends. */
export class OperationError extends Error {
  override readonly name = "OperationError";
  readonly reason: ExitReason;

  constructor(reason: ExitReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
