/** The record with which a source lets its VM go. */

import { messageOf } from "../errors.ts";
import type { OwnershipRecord, OwnershipRegister } from "../store/ownership.ts";

/** Records RELEASED. If the disk refuses, it may still be there in part: the next epoch overrules it. */
export async function recordReleased(
  ownership: OwnershipRegister,
  released: OwnershipRecord,
  warn: (message: string) => void,
): Promise<void> {
  try {
    await ownership.write(released);
  } catch (error) {
    await ownership
      .write({ ...released, state: "owned", epoch: released.epoch + 1 })
      .catch((problem) => warn(messageOf(problem)));
    throw error;
  }
}
