/** A client of one export of an NBD server on a unix socket, such as the one in QEMU. */

import { messageOf, OperationError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import { type NbdOptions, openExport } from "./handshake.ts";
import type { NegotiatedExport } from "./negotiation.ts";
import {
  type Extent,
  guardSink,
  noContent,
  type ReadSink,
  type ReplyContent,
  readContent,
  statusContent,
} from "./reply-content.ts";
import { ReplyDecoder } from "./reply-decoder.ts";
import { DISCONNECT, encodeRequest, type Request, RequestTable } from "./request-table.ts";
import { Command, CommandFlag, MAX_U32 } from "./vocabulary.ts";

/**
 * A connection to an export. Any number of requests may be under way; the caller bounds them. A request that the
 * server refuses rejects with `OperationError`, and the connection goes on. When the connection is lost, all requests
 * reject with the `OperationError` that `closed` gives. Ranges that the export does not have, or that are no multiples
 * of its blocks, are a `RangeError`.
 *
 *     const client = await NbdClient.connect({ socketPath, exportName: "disk0" });
 *     const block = new Uint8Array(4096);
 *     await client.read(0, 4096, {
 *       data: (at, bytes) => block.set(bytes, at),
 *       hole: (at, lengthBytes) => block.fill(0, at, at + lengthBytes),
 *     });
 *     await client.disconnect();
 */
export class NbdClient {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  /** Names of the contexts that the server granted. */
  readonly contexts: readonly string[];
  /** Offsets and lengths of requests must be multiples of it. Mostly 1. */
  readonly minimumBlockBytes: number;
  /** Most bytes of one `read` or `write`. */
  readonly maxRequestBytes: number;
  /** Resolves when the connection is over: with null after `disconnect`, else with why. Never rejects. */
  readonly closed: Promise<Error | null>;
  readonly #name: string;
  readonly #negotiated: NegotiatedExport;
  readonly #connection: Connection;
  readonly #decoder = new ReplyDecoder();
  readonly #table = new RequestTable();
  #isDisconnecting = false;

  private constructor(name: string, connection: Connection, negotiated: NegotiatedExport) {
    this.sizeBytes = negotiated.sizeBytes;
    this.isReadOnly = negotiated.isReadOnly;
    this.contexts = [...negotiated.contexts.values()];
    this.minimumBlockBytes = negotiated.minimumBlockBytes;
    this.maxRequestBytes = negotiated.maxRequestBytes;
    this.#name = name;
    this.#negotiated = negotiated;
    this.#connection = connection;
    connection.receive = (bytes) => {
      for (const event of this.#decoder.push(bytes)) this.#table.take(event);
    };
    this.closed = connection.closed.then((reason) => {
      const error = reason === null ? null : this.#lost(messageOf(reason), reason);
      this.#table.rejectAll(error ?? this.#lost("it was disconnected here"));
      return error;
    });
  }

  /**
   * Connects and opens an export. Contexts that the server does not have are not granted: see `contexts`.
   * Rejects with `OperationError`, which tells what the server said, when that cannot be done.
   */
  static async connect(options: NbdOptions): Promise<NbdClient> {
    const { connection, negotiated } = await openExport(options);
    return new NbdClient(options.exportName, connection, negotiated);
  }

  /** Reads into a sink. No call of the sink comes after it is settled. */
  async read(offset: number, lengthBytes: number, sink: ReadSink): Promise<void> {
    this.#checkRange(offset, lengthBytes, this.maxRequestBytes);
    const guarded = guardSink(sink);
    const content = readContent(offset, lengthBytes, guarded.sink);
    await this.#ask({ command: Command.read, offset, lengthBytes }, "read", content);
    guarded.rethrow();
  }

  /**
   * Tells the extents from `offset` on, by the name of each granted context: at least one each, `lengthBytes` at most;
   * servers may tell less than they were asked for, and not the same for each context.
   */
  async blockStatus(offset: number, lengthBytes: number): Promise<Map<string, Extent[]>> {
    if (this.contexts.length === 0) {
      throw new TypeError(`Cannot query export ${this.#name}: no context was granted`);
    }
    this.#checkRange(offset, lengthBytes, MAX_U32);
    const restBytes = this.sizeBytes - offset - lengthBytes;
    const content = statusContent(lengthBytes, restBytes, this.#negotiated.contexts);
    return this.#ask({ command: Command.blockStatus, offset, lengthBytes }, "query", content);
  }

  /** Writes. `bytes` must stay as they are until it is settled; a WASM memory that holds them must not grow. */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    this.#checkRange(offset, bytes.length, this.maxRequestBytes);
    const request = { command: Command.write, offset, lengthBytes: bytes.length };
    return this.#ask(request, "write", noContent(), bytes);
  }

  /** Makes a range read as zeroes. With `mayPunch` false the server must keep, or make, room for it on its storage. */
  async writeZeroes(
    offset: number,
    lengthBytes: number,
    options: { readonly mayPunch?: boolean } = {},
  ): Promise<void> {
    this.#checkRange(offset, lengthBytes, MAX_U32);
    if (!this.#negotiated.canWriteZeroes) throw this.#unable("write zeroes to");
    const commandFlags = (options.mayPunch ?? true) ? 0 : CommandFlag.noHole;
    const request = { command: Command.writeZeroes, commandFlags, offset, lengthBytes };
    return this.#ask(request, "zero", noContent());
  }

  /** Resolves when all writes that had resolved before are on permanent storage. */
  async flush(): Promise<void> {
    if (!this.#negotiated.canFlush) throw this.#unable("flush");
    return this.#ask({ command: Command.flush, offset: 0, lengthBytes: 0 }, "flush", noContent());
  }

  /** Waits for the requests under way, then ends the connection. Further requests reject. Never rejects. */
  async disconnect(): Promise<void> {
    if (!this.#isDisconnecting) {
      this.#isDisconnecting = true;
      await this.#table.whenIdle();
      this.#connection.close(encodeRequest(DISCONNECT, 0));
    }
    await this.closed;
  }

  /** Ends the connection at once; requests under way reject, and it is not known whether they were carried out. */
  destroy(): void {
    this.#isDisconnecting = true;
    this.#connection.fail(new Error("it was given up here"));
  }

  async #ask<T>(
    request: Request,
    verb: string,
    content: ReplyContent<T>,
    ...payload: Uint8Array[]
  ): Promise<T> {
    if (this.#isDisconnecting || this.#connection.isEnding) {
      throw (await this.#reasonIfOver()) ?? this.#lost("it was disconnected here");
    }
    const range = request.lengthBytes === 0 ? "" : ` ${request.lengthBytes} bytes at ${request.offset} of`;
    const action = `${verb}${range} export ${this.#name}`;
    const { cookie, answer } = this.#table.add(request, action, content);
    this.#connection.send(encodeRequest(request, cookie), ...payload);
    return answer;
  }

  /** Why the connection ended, when it has; waiting for that takes a moment at most. */
  async #reasonIfOver(): Promise<Error | null> {
    return this.#connection.isEnding ? this.closed : null;
  }

  #checkRange(offset: number, lengthBytes: number, maxBytes: number): void {
    const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(lengthBytes) && offset >= 0;
    const block = this.minimumBlockBytes;
    if (!isRange || lengthBytes < 1 || lengthBytes > maxBytes || offset + lengthBytes > this.sizeBytes) {
      throw new RangeError(
        `Cannot use ${lengthBytes} bytes at ${offset} of export ${this.#name}: ` +
          `it has ${this.sizeBytes} bytes, and a request at most ${maxBytes}`,
      );
    }
    if (offset % block !== 0 || lengthBytes % block !== 0) {
      throw new RangeError(
        `Cannot use ${lengthBytes} bytes at ${offset} of export ${this.#name}: its blocks have ${block} bytes`,
      );
    }
  }

  #unable(action: string): OperationError {
    return new OperationError(
      "failed",
      `Cannot ${action} export ${this.#name}: the server does not offer that`,
    );
  }

  #lost(why: string, cause?: unknown): OperationError {
    return new OperationError("failed", `Lost export ${this.#name}: ${why}`, { cause });
  }
}
