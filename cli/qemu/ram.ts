/** Writes a guest's RAM to a file, by QMP `pmemsave`: the oracle for what a migration must not change. */

import { open, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { OperationError } from "../errors.ts";
import type { QmpClient } from "./qmp-client.ts";

/** pc and q35 keep this much RAM in one piece at address 0; more of it may lie above 4 GiB. */
const MAX_SAVED_MEMORY_BYTES = 2 * 1024 ** 3;

/**
 * Saves the guest-physical addresses 0 to `lengthBytes` as a new file, readable by us alone. Stop the VM first.
 * The file is what the guest would read: the VGA window at 640 KiB shows the adapter and the ROM area its shadow.
 * Throws RangeError above 2 GiB, `OperationError` when QEMU writes another length, `QmpError` when it refuses.
 */
export async function saveGuestMemory(qmp: QmpClient, path: string, lengthBytes: number): Promise<void> {
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes <= 0 || lengthBytes > MAX_SAVED_MEMORY_BYTES) {
    throw new RangeError(
      `Cannot save ${lengthBytes} bytes of guest memory: 1 to ${MAX_SAVED_MEMORY_BYTES} are possible`,
    );
  }
  // QEMU may run elsewhere and would make the file readable by all: give it an absolute path to an empty file.
  const filename = resolve(path);
  await (await open(filename, "wx", 0o600)).close();
  await qmp.execute("pmemsave", { val: 0, size: lengthBytes, filename });
  const { size } = await stat(filename);
  if (size === lengthBytes) return;
  throw new OperationError(
    "failed",
    `Cannot save the guest's memory: QEMU wrote ${size} of ${lengthBytes} bytes`,
  );
}
