/** What the failure of a leg means for its VM at the source. */

import { messageOf, OperationError } from "../errors.ts";
import type { LegPurpose } from "../wan/messages.ts";

/** Before RELEASED every failure means that the VM goes on here; a refusal keeps its own exit code. */
export function asAborted(error: unknown): OperationError {
  if (error instanceof OperationError && (error.reason === "aborted" || error.reason === "refused"))
    return error;
  return new OperationError("aborted", `Migration aborted, the VM stays at the source: ${messageOf(error)}`, {
    cause: error,
  });
}

/** What a leg may be for that leaves the VM where it is. */
export type CopyPurpose = Exclude<LegPurpose, "handover">;

/** The same for a copy: the VM was never about to leave. */
export function asNoCopy(purpose: CopyPurpose, error: unknown): OperationError {
  if (error instanceof OperationError && error.reason === "refused") return error;
  return new OperationError("aborted", `No ${purpose} was made, the VM stays here: ${messageOf(error)}`, {
    cause: error,
  });
}

/** QEMU is gone, and the VM with it: this must not look like a leg after which it runs on. */
export function asLost(error: unknown): OperationError {
  const why = messageOf(error);
  return new OperationError(
    "failed",
    `Migration failed, and the VM does not run any more: ${why}; 'bfmig recover' restarts a retained generation`,
    { cause: error },
  );
}
