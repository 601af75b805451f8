/** Where the digest key of a VM is found: named on the command line, or beside the store. */

import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fromHex } from "../../src/bytes.ts";
import { messageOf, OperationError } from "../errors.ts";

/** Where the key of a VM lies by default: apart from the store, beside it. */
function defaultKeyPath(storePath: string, vm: string): string {
  return join(`${storePath}.keys`, `${vm}.key`);
}

/**
 * The 32-byte key of a VM; `action` ("Cannot verify web1") begins the messages. A key file named `<vm>.key` is preferred
 * among `keyPaths`; one that is the only one given is taken for every VM. `storePath` is null when the files do not lie
 * in a store. Throws OperationError "usage" if there is none, or it does not have 64 hexadecimal digits.
 */
export async function readDigestKey(
  action: string,
  vm: string,
  storePath: string | null,
  keyPaths: readonly string[],
): Promise<Uint8Array> {
  const named = keyPaths.find((path) => basename(path) === `${vm}.key`);
  const only = keyPaths.length === 1 ? keyPaths[0] : undefined;
  const path = named ?? only ?? (storePath === null ? null : defaultKeyPath(storePath, vm));
  if (path === null) {
    throw new OperationError(
      "usage",
      `${action}: it does not lie in a store, so its digest key must be named: --key FILE`,
    );
  }
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new OperationError(
      "usage",
      missing
        ? `${action}: its digest key ${path} is missing; name it with --key FILE`
        : `${action}: its digest key cannot be read: ${messageOf(error)}`,
    );
  }
  if (!/^[0-9a-fA-F]{64}$/.test(text)) {
    throw new OperationError("usage", `${action}: ${path} is not a key of 64 hexadecimal digits`);
  }
  return fromHex(text);
}
