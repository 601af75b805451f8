/** One agent a store: a second one would sweep the first one's unfinished legs and run its VMs. */

import { stat } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { OperationError } from "../errors.ts";
import { storeError } from "./atomic-file.ts";
import { makeFolder } from "./folder.ts";

/** Holds a store until it is released or the process ends. */
export interface StoreLock {
  release(): void;
}

/**
 * Takes the store for this process; makes its folder if it is missing. The lock is a socket in Linux's abstract
 * name space, named by the folder's device and inode: the kernel frees it whatever ends the process.
 * Throws OperationError if another process has the store. On other systems only the control socket keeps agents apart.
 */
export async function lockStore(path: string): Promise<StoreLock> {
  try {
    await makeFolder(path);
  } catch (error) {
    throw storeError(`Cannot use store ${path}`, error);
  }
  if (process.platform !== "linux") return { release: () => {} };
  const { dev, ino } = await stat(path, { bigint: true });
  const server = await bind(`\0bfmig-store-${dev}-${ino}`);
  if (server === null) {
    throw new OperationError("failed", `Cannot use store ${path}: another agent has it; stop that one first`);
  }
  server.unref();
  return { release: () => server.close() };
}

/** A server at that name, or null if the name is taken. */
function bind(name: string): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(null);
      else reject(error);
    });
    server.listen(name, () => resolve(server));
  });
}
