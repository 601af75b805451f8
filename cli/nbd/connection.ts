/** A connection to a unix socket that we open: fixed memory for what is received, no copy of what is sent. */

import { connect, type Socket } from "node:net";
import { deferred } from "../qemu/deferred.ts";

/** More than a unix socket holds by default. */
const RECEIVE_BUFFER_BYTES = 256 * 1024;
/** How long the other side may take to close a connection that is over, in milliseconds. */
const CLOSE_GRACE_MS = 2_000;

/** Bytes come to `receive`, which may be replaced. When it throws, the connection ends for that reason. */
export class Connection {
  /** Called with views of one buffer that is used again: copy what must stay. */
  receive: (bytes: Uint8Array) => void = () => {};
  /** Resolves when the connection is over: with null after `close`, else with why. Never rejects. */
  readonly closed: Promise<Error | null>;
  readonly #socket: Socket;
  /** Why it ends; undefined while it does not. */
  #reason: Error | null | undefined;

  constructor(socketPath: string) {
    const closed = deferred<Error | null>();
    this.closed = closed.promise;
    this.#socket = connect({
      path: socketPath,
      onread: {
        buffer: new Uint8Array(RECEIVE_BUFFER_BYTES),
        callback: (lengthBytes, buffer) => {
          this.#take(buffer.subarray(0, lengthBytes));
          return true;
        },
      },
    });
    this.#socket.on("error", (error) => this.fail(error));
    this.#socket.on("end", () => this.fail(new Error("the server closed the connection")));
    this.#socket.on("close", () => {
      this.fail(new Error("the connection was closed"));
      closed.resolve(this.#reason ?? null);
    });
  }

  /** Whether it is over, or about to be. */
  get isEnding(): boolean {
    return this.#reason !== undefined;
  }

  /** Sends parts, one behind the other. They must not change until the other side has answered. */
  send(...parts: Uint8Array[]): void {
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  /** Sends last words and ends the connection, also when the other side does not. */
  close(lastWords: Uint8Array): void {
    if (this.#reason !== undefined) return;
    this.#reason = null;
    this.#socket.end(lastWords);
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_GRACE_MS);
    this.#socket.once("close", () => clearTimeout(timer));
  }

  /** Ends the connection at once. Only the first reason counts. */
  fail(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#socket.destroy();
  }

  #take(bytes: Uint8Array): void {
    if (this.#reason !== undefined) return;
    try {
      this.receive(bytes);
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
