/**
 * A client of QEMU's control socket (QMP): commands with their answers, and events.
 * QEMU serves one client at a time on a socket; a second one waits without a greeting.
 */

import { connect, type Socket } from "node:net";
import { messageOf, OperationError } from "../errors.ts";
import { type FileOwner, ownerOf } from "./confinement-files.ts";
import { deferred } from "./deferred.ts";
import {
  decodeMessage,
  isObject,
  LineSplitter,
  type QemuVersion,
  QmpClosedError,
  QmpError,
  type QmpEvent,
  type QmpMessage,
  type QmpObject,
  QmpTimeoutError,
} from "./qmp-messages.ts";
import { checkSocketPath } from "./unix-socket.ts";

/** How long to wait for the greeting, when the caller does not say, in milliseconds. */
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** Options of `QmpClient.connect`. */
export interface QmpConnectOptions {
  /** For the connection, the greeting and the negotiation together. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Options of `QmpClient.waitForEvent`. */
export interface WaitForEventOptions {
  /** Takes only events whose data it accepts. */
  readonly where?: (data: QmpObject) => boolean;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/**
 * A connection to QMP that has been negotiated.
 *
 *     const qmp = await QmpClient.connect("/run/vm/qmp.sock", { timeoutMs: 5000 });
 *     const { status } = await qmp.execute<{ status: string }>("query-status");
 */
export class QmpClient {
  /** Resolves when the connection has ended, for whatever reason. Never rejects. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #lines = new LineSplitter();
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeting = deferred<QemuVersion>();
  #version: QemuVersion = [0, 0, 0];
  #owner: FileOwner | null = null;
  #nextId = 1;
  #closeError: QmpClosedError | undefined;
  readonly #forbidden = new Map<string, string>();

  private constructor(path: string) {
    const closed = deferred<void>();
    this.closed = closed.promise;
    this.#socket = connect(path);
    this.#socket.on("data", (chunk) => this.#take(chunk));
    this.#socket.on("error", (error) => this.#end(error.message));
    this.#socket.on("close", () => {
      this.#end("QEMU closed it");
      closed.resolve();
    });
  }

  /**
   * Connects and negotiates. Rejects with `QmpClosedError` (with `cause`) when nobody listens or what listens
   * is not QMP, `QmpTimeoutError` when nothing answers in time, or the signal's reason.
   */
  static async connect(path: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    checkSocketPath(path);
    options.signal?.throwIfAborted();
    const timeoutMs = options.timeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const client = new QmpClient(path);
    try {
      const negotiation = client.#negotiate();
      await limit(negotiation, `Cannot connect to QMP at ${path}`, { timeoutMs, signal: options.signal });
      client.#owner = await ownerOf(path);
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** The version that QEMU told in its greeting. */
  get version(): QemuVersion {
    return this.#version;
  }

  /** Whose the socket is: the user that QEMU runs as; null if the socket is gone. */
  get owner(): FileOwner | null {
    return this.#owner;
  }

  /** Whether the connection has ended, or is about to. */
  get isClosed(): boolean {
    return this.#closeError !== undefined;
  }

  /**
   * Executes a command and resolves to what it returned; `T` is not checked.
   * Rejects with `QmpError` when QEMU refuses, `QmpClosedError` when the connection ends first,
   * `QmpTimeoutError` after `timeoutMs` (the late answer is dropped). Without `timeoutMs` it waits for ever.
   */
  async execute<T = unknown>(
    command: string,
    args?: QmpObject,
    options: { timeoutMs?: number } = {},
  ): Promise<T> {
    if (this.#closeError !== undefined) throw this.#closeError;
    const forbidden = this.#forbidden.get(command);
    if (forbidden !== undefined) throw new OperationError("refused", forbidden);
    const id = this.#nextId++;
    const answer = deferred<unknown>();
    this.#pending.set(id, { command, resolve: answer.resolve, reject: answer.reject });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return (await limit(answer.promise, `QEMU did not answer ${command}`, options)) as T;
    } finally {
      this.#pending.delete(id);
    }
  }

  /** From now on a command is not sent: whoever executes it gets OperationError "refused" with this text. Null allows it. */
  forbid(command: string, why: string | null): void {
    if (why === null) this.#forbidden.delete(command);
    else this.#forbidden.set(command, why);
  }

  /** Calls `listener` for every event from now on, in order. It must not throw. Returns how to stop that. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the next event of that name. Call it before the command that causes the event.
   * Rejects with `QmpClosedError`, `QmpTimeoutError` or the signal's reason.
   */
  async waitForEvent(name: string, options: WaitForEventOptions = {}): Promise<QmpEvent> {
    options.signal?.throwIfAborted();
    if (this.#closeError !== undefined) throw this.#closeError;
    const found = deferred<QmpEvent>();
    const stop = this.onEvent((event) => {
      if (event.name === name && (options.where?.(event.data) ?? true)) found.resolve(event);
    });
    const lost = this.closed.then(() => {
      throw this.#closeError ?? new QmpClosedError("The QMP connection ended");
    });
    try {
      return await limit(Promise.race([found.promise, lost]), `QEMU did not report ${name}`, options);
    } finally {
      stop();
    }
  }

  /** Ends the connection. QEMU goes on, and serves the next client. */
  close(): void {
    this.#end("it was closed here");
  }

  async #negotiate(): Promise<void> {
    this.#version = await this.#greeting.promise;
    await this.execute("qmp_capabilities");
  }

  #take(chunk: Buffer): void {
    try {
      for (const line of this.#lines.push(chunk)) this.#dispatch(decodeMessage(line));
    } catch (error) {
      this.#end(messageOf(error), error);
    }
  }

  #dispatch(message: QmpMessage): void {
    switch (message.kind) {
      case "greeting":
        this.#greeting.resolve(message.version);
        return;
      case "event":
        for (const listener of [...this.#listeners]) listener(message.event);
        return;
      case "return":
        this.#answered(message.id)?.resolve(message.value);
        return;
      case "error": {
        const pending = this.#answered(message.id);
        pending?.reject(new QmpError(pending.command, message.errorClass, message.description));
      }
    }
  }

  /** The command that an id belongs to; none when it had timed out. */
  #answered(id: unknown): Pending | undefined {
    if (typeof id !== "number") return undefined;
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #end(reason: string, cause?: unknown): void {
    if (this.#closeError !== undefined) return;
    this.#closeError = new QmpClosedError(`The QMP connection ended: ${reason}`, { cause });
    this.#greeting.reject(this.#closeError);
    for (const pending of this.#pending.values()) pending.reject(this.#closeError);
    this.#pending.clear();
    this.#socket.destroy();
  }
}

/** Whether the VM's CPUs run now, by `query-status`. */
export async function isRunning(qmp: QmpClient, options: { timeoutMs?: number } = {}): Promise<boolean> {
  const status = await qmp.execute("query-status", undefined, options);
  return isObject(status) && status["running"] === true;
}

async function limit<T>(
  work: Promise<T>,
  what: string,
  options: { readonly timeoutMs?: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<T> {
  const { timeoutMs, signal } = options;
  if (timeoutMs === undefined && signal === undefined) return work;
  const stopped = deferred<never>();
  const onAbort = () => stopped.reject(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(() => stopped.reject(new QmpTimeoutError(`${what} within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([work, stopped.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    // The loser of the race has nobody left to tell.
    work.catch(() => {});
  }
}
