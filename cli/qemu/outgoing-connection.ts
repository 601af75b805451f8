/** How QEMU comes to our socket for an outgoing migration: we listen for a moment, and take one connection. */

import { rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../errors.ts";
import { giveFile } from "./confinement-files.ts";
import { deferred } from "./deferred.ts";
import { isFinal, queryMigration } from "./migration-info.ts";
import type { QmpClient } from "./qmp-client.ts";
import { preparePrivateSocket } from "./unix-socket.ts";

/** How long QEMU may take to connect, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
const POLL_MS = 50;

/**
 * Listens, executes `migrate`, and resolves to the one connection that it takes, with reading paused.
 * Rejects with `QmpError` when QEMU refuses, `OperationError` when it does not connect; nothing is left then.
 */
export async function connectQemu(qmp: QmpClient, socketPath: string): Promise<Socket> {
  await preparePrivateSocket(socketPath);
  await rm(socketPath, { force: true });
  const accepted = deferred<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  // Nobody else may join; a second connection would be a stream that we do not understand.
  server.once("connection", (socket) => {
    accepted.resolve(socket);
    server.on("connection", (other) => other.destroy());
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(socketPath, resolve);
    });
    await giveFile(socketPath, qmp.owner);
    await qmp.execute("migrate", { uri: `unix:${socketPath}` });
    try {
      return await connectionOrFailure(qmp, accepted.promise);
    } catch (error) {
      accepted.promise.then((socket) => socket.destroy());
      await qmp.execute("migrate_cancel").catch(() => {});
      throw error;
    }
  } finally {
    server.close();
    await rm(socketPath, { force: true });
  }
}

/** Waits for QEMU's connection. Rejects when its migration fails, or takes too long, before that. */
async function connectionOrFailure(qmp: QmpClient, accepted: Promise<Socket>): Promise<Socket> {
  const deadline = Date.now() + CONNECT_TIMEOUT_MS;
  for (;;) {
    const socket = await Promise.race([accepted, sleep(POLL_MS, null)]);
    if (socket !== null) return socket;
    const info = await queryMigration(qmp);
    if (!isFinal(info.status) && Date.now() < deadline) continue;
    const reason = info.errorDescription ?? `its migration is in state ${info.status}`;
    throw new OperationError("failed", `Cannot start the migration: QEMU did not connect, ${reason}`);
  }
}
