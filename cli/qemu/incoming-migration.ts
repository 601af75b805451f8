/**
 * The destination side of a migration: we connect to a QEMU that was started with `-incoming defer -S` and
 * write a stream into it. This file moves bytes and decides nothing. What QEMU says on the return path is
 * dropped: the sender answers the source's QEMU itself.
 */

import { rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "./deferred.ts";
import { isFinal, queryMigration, setCapabilities } from "./migration-info.ts";
import { isRunning, type QmpClient } from "./qmp-client.ts";
import { QmpError } from "./qmp-messages.ts";
import { preparePrivateSocket } from "./unix-socket.ts";

/** How long QEMU may take to tell the result after our connection has ended, in milliseconds. */
const RESULT_TIMEOUT_MS = 10_000;

/** Options of `startIncoming`. */
export interface IncomingOptions {
  /** Where QEMU listens; its folder is made private (0700). */
  readonly socketPath: string;
  /** The end of QEMU's log: QEMU ends when a stream cannot be loaded, and says why only there. */
  readonly logTail?: () => Promise<string>;
  /**
   * QEMU takes its disk images before `completed` resolves, so that one which it cannot take fails the load. Without
   * it, images that the source's QEMU may still have are taken at `cont`.
   */
  readonly takesDisks?: boolean;
}

/** Makes a waiting QEMU listen, and connects to it. Rejects when QEMU refuses. */
export async function startIncoming(qmp: QmpClient, options: IncomingOptions): Promise<IncomingMigration> {
  const { socketPath } = options;
  await preparePrivateSocket(socketPath);
  const { takesDisks = false } = options;
  await setCapabilities(qmp, { required: ["events"], wished: takesDisks ? [] : ["late-block-activate"] });
  await rm(socketPath, { force: true });
  await qmp.execute("migrate-incoming", { uri: `unix:${socketPath}` });
  const socket = connect(socketPath);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
  } catch (error) {
    throw new OperationError("failed", `Cannot connect to the waiting QEMU: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    await rm(socketPath, { force: true });
  }
  return new IncomingMigration(qmp, socket, options.logTail, takesDisks);
}

/** A migration into a QEMU. */
export class IncomingMigration {
  /**
   * Resolves when QEMU has loaded everything; the VM is stopped then. Rejects with `OperationError` when the
   * load fails, with what QEMU said, and when the VM runs though it must not (it is stopped first).
   */
  readonly completed: Promise<void>;
  readonly #qmp: QmpClient;
  readonly #socket: Socket;
  readonly #logTail: () => Promise<string>;
  readonly #completed = deferred();
  readonly #unsubscribe: () => void;
  readonly #takesDisks: boolean;
  #isSettled = false;

  /** Use `startIncoming`. */
  constructor(
    qmp: QmpClient,
    socket: Socket,
    logTail: (() => Promise<string>) | undefined,
    takesDisks: boolean,
  ) {
    this.#takesDisks = takesDisks;
    this.#qmp = qmp;
    this.#socket = socket;
    this.#logTail = logTail ?? (async () => "");
    this.completed = this.#completed.promise;
    this.#unsubscribe = qmp.onEvent((event) => {
      if (event.name === "MIGRATION" && isFinal(String(event.data["status"]))) this.#finish();
    });
    qmp.closed.then(() => this.#finish());
    socket.on("error", () => {});
    socket.on("close", () => this.#finishSoon());
    socket.resume();
  }

  /**
   * Writes the next bytes of the stream. `true`: the kernel has them all. A promise: QEMU is slower, wait.
   * Nothing is copied: `bytes` may be changed or reused (WASM memory is) only after `true` or after the promise.
   * The promise rejects with `OperationError` when the connection is lost; `completed` tells why.
   */
  write(bytes: Uint8Array): true | Promise<void> {
    const socket = this.#socket;
    if (!socket.writable) return Promise.reject(connectionLost());
    const flushed = deferred();
    socket.write(bytes, (error) => (error ? flushed.reject(connectionLost(error)) : flushed.resolve()));
    // Node writes at once as far as the kernel takes it; nothing left means that nothing refers to `bytes`.
    return socket.writableLength === 0 ? true : flushed.promise;
  }

  /** Ends the stream after what was written. Then await `completed`. */
  end(): void {
    this.#socket.end();
  }

  /** Cuts the connection in mid-stream. QEMU 7.2 ends itself then; quit it in any case. */
  abort(): void {
    this.#socket.destroy();
  }

  /** QEMU closes the connection before it tells the result, and may do so only after some work. */
  #finishSoon(): void {
    const timer = setTimeout(() => this.#finish(), RESULT_TIMEOUT_MS);
    this.completed.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    );
  }

  #finish(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#unsubscribe();
    this.#judge().then(this.#completed.resolve, this.#completed.reject);
  }

  async #judge(): Promise<void> {
    let status = "lost";
    let reason = "";
    if (!this.#qmp.isClosed) {
      const info = await queryMigration(this.#qmp, { timeoutMs: RESULT_TIMEOUT_MS }).catch(() => null);
      status = info?.status ?? status;
      reason = info?.errorDescription ?? "";
    }
    if (status !== "completed") {
      reason ||= (await this.#logTail()) || (status === "lost" ? "QEMU ended" : `QEMU's state is ${status}`);
      throw new OperationError("aborted", `Cannot load the migration stream: ${reason}`);
    }
    if (!(await isRunning(this.#qmp))) {
      if (this.#takesDisks) await activateDisks(this.#qmp);
      return;
    }
    await this.#qmp.execute("stop");
    throw new OperationError("failed", "Cannot accept the VM: it ran after the load; start its QEMU with -S");
  }
}

/** From 10.0 on a paused VM takes its disks only when it is told to; before, they were taken by the load. */
async function activateDisks(qmp: QmpClient): Promise<void> {
  try {
    await qmp.execute("blockdev-set-active", { active: true });
  } catch (error) {
    if (error instanceof QmpError && error.errorClass === "CommandNotFound") return;
    throw new OperationError("aborted", `Cannot take the VM's disks: ${messageOf(error)}`, { cause: error });
  }
}

function connectionLost(cause?: Error): OperationError {
  const why = cause === undefined ? "it is closed" : cause.message;
  return new OperationError("aborted", `Cannot write to the waiting QEMU: the connection is lost, ${why}`, {
    cause,
  });
}
