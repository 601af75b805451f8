/** Opens an export over a new connection: the negotiation with a socket, a timeout and a way out. */

import { concatBytes } from "../../src/bytes.ts";
import { FormatError } from "../../src/errors.ts";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "../qemu/deferred.ts";
import { checkSocketPath } from "../qemu/unix-socket.ts";
import { Connection } from "./connection.ts";
import {
  type Conversation,
  encodeAbort,
  type NegotiatedExport,
  type NegotiationStep,
  negotiate,
} from "./negotiation.ts";

/** How long the handshake may take, when the caller does not say, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 10_000;

/** Which export to open. */
export interface NbdOptions {
  readonly socketPath: string;
  readonly exportName: string;
  /** Metadata contexts to ask for, such as `base:allocation` or `qemu:dirty-bitmap:NAME`. */
  readonly contexts?: readonly string[];
  /** For the connection and the handshake together. */
  readonly timeoutMs?: number;
}

/** A connection in the transmission phase. */
export interface OpenExport {
  readonly connection: Connection;
  readonly negotiated: NegotiatedExport;
}

/** Connects and negotiates. Rejects with `OperationError`, which tells what the server said, when that fails. */
export async function openExport(options: NbdOptions): Promise<OpenExport> {
  const { socketPath, exportName } = options;
  checkSocketPath(socketPath);
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const connection = new Connection(socketPath);
  const opened = deferred<NegotiatedExport>();
  connection.closed.then((reason) => {
    const message = `Cannot open export ${exportName} at ${socketPath}: ${messageOf(reason)}`;
    opened.reject(new OperationError("failed", message, { cause: reason }));
  });
  const dialogue = new Dialogue(
    negotiate(exportName, options.contexts ?? []),
    (bytes) => connection.send(bytes),
    opened.resolve,
  );
  connection.receive = (bytes) => {
    try {
      dialogue.push(bytes);
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      opened.reject(error);
      connection.close(encodeAbort());
    }
  };
  const timer = setTimeout(() => {
    connection.fail(new Error(`the server did not answer within ${timeoutMs} ms`));
  }, timeoutMs);
  try {
    return { connection, negotiated: await opened.promise };
  } finally {
    clearTimeout(timer);
  }
}

/** Carries out the steps of a conversation with bytes that come in chunks of any size. */
export class Dialogue<T> {
  readonly #conversation: Conversation<T>;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #onDone: (result: T) => void;
  /** Bytes that were not asked for yet. */
  #kept: Uint8Array = new Uint8Array(0);
  /** How many bytes the conversation waits for; null when it is over. */
  #wantedBytes: number | null = null;

  constructor(conversation: Conversation<T>, send: (bytes: Uint8Array) => void, onDone: (result: T) => void) {
    this.#conversation = conversation;
    this.#send = send;
    this.#onDone = onDone;
    this.#follow(conversation.next());
  }

  /** Takes the next bytes. Throws what the conversation throws, or `FormatError` when it is over. */
  push(chunk: Uint8Array): void {
    this.#kept = concatBytes([this.#kept, chunk]);
    while (this.#wantedBytes !== null && this.#kept.length >= this.#wantedBytes) {
      const wanted = this.#kept.subarray(0, this.#wantedBytes);
      this.#kept = this.#kept.subarray(this.#wantedBytes);
      this.#follow(this.#conversation.next(wanted));
    }
    if (this.#wantedBytes === null && this.#kept.length > 0) {
      throw new FormatError(
        "bad-value",
        "Cannot follow the NBD handshake: the server goes on behind its end",
      );
    }
  }

  #follow(first: IteratorResult<NegotiationStep, T>): void {
    let result = first;
    while (result.done !== true && "send" in result.value) {
      this.#send(result.value.send);
      result = this.#conversation.next(new Uint8Array(0));
    }
    if (result.done === true) {
      this.#wantedBytes = null;
      this.#onDone(result.value);
    } else {
      this.#wantedBytes = (result.value as { receiveBytes: number }).receiveBytes;
    }
  }
}
