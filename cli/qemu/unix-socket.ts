/** Unix sockets that only we and our QEMU may use: the limit on their paths, and private folders for them. */

import { lstat, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
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

/** Folder of the sockets that the QEMU of a folder makes, which may belong to another user than the rest. */
export function qemuFolder(runDir: string): string {
  return join(runDir, "qemu");
}

/** Path of a socket that the QEMU of a folder makes. */
export function qemuSocketPath(runDir: string, name: string): string {
  return join(qemuFolder(runDir), name);
}

/** Makes a folder that only we may enter, or checks that an existing one is. Throws `OperationError` if not. */
export async function makePrivateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const status = await lstat(folder);
  if (status.isDirectory() && isOurs(status) && (status.mode & 0o077) === 0) return;
  throw notPrivate(folder);
}

/**
 * Checks a socket's path and makes its folder private. Root takes what `prepareRunFolder` made for a QEMU of another
 * user too: the folder of that user alone, in one that only root can change, and that one.
 */
export async function preparePrivateSocket(path: string): Promise<void> {
  checkSocketPath(path);
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (process.geteuid?.() === 0) {
    const status = await lstat(folder);
    const above = await lstat(dirname(folder));
    const mode = status.mode & 0o777;
    if (status.isDirectory() && isOurs(status) && mode === 0o711) return;
    const isSafe = above.isDirectory() && isOurs(above) && (above.mode & 0o022) === 0;
    if (status.isDirectory() && isSafe && mode === 0o700) return;
  }
  await makePrivateFolder(folder);
}

function isOurs({ uid }: { readonly uid: number }): boolean {
  return process.geteuid === undefined || uid === process.geteuid();
}

function notPrivate(folder: string): OperationError {
  return new OperationError(
    "failed",
    `Cannot put a socket into ${folder}: others may enter this folder; set its mode to 0700`,
  );
}
