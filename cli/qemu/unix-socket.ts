/** Unix sockets that only we and our QEMU may use: the limit on their paths, and private folders for them. */

import { lstat, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { OperationError } from "../errors.ts";

/** Longest path of a unix socket in bytes: `sun_path` has 108 on Linux, one of them the terminating zero. */
export const MAX_SOCKET_PATH_BYTES = 107;

/** Throws `OperationError` when a path is too long for a unix socket; the kernel would cut it silently. */
export function checkSocketPath(path: string): void {
  const lengthBytes = Buffer.byteLength(path);
  if (lengthBytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new OperationError(
    "usage",
    `Cannot use the unix socket ${path}: its path has ${lengthBytes} bytes, more than ${MAX_SOCKET_PATH_BYTES}; choose a shorter folder`,
  );
}

/** Makes a folder that only we may enter, or checks that an existing one is. Throws `OperationError` if not. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const status = await lstat(folder);
  const isOurs = process.getuid === undefined || status.uid === process.getuid();
  if (status.isDirectory() && isOurs && (status.mode & 0o077) === 0) return;
  throw new OperationError(
    "failed",
    `Cannot put a socket into ${folder}: others may enter this folder; set its mode to 0700`,
  );
}

/** Checks a socket's path and makes its folder private. */
export async function preparePrivateSocket(path: string): Promise<void> {
  checkSocketPath(path);
  await makePrivateFolder(dirname(path));
}
