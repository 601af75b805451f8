/** The requests that wait for their replies, by their cookies. It knows no sockets. */

import { type Deferred, deferred } from "../qemu/deferred.ts";
import { type ReplyContent, wrong } from "./reply-content.ts";
import type { ReplyEvent } from "./reply-decoder.ts";
import { Command, errorName, REQUEST_MAGIC, refusal } from "./vocabulary.ts";

const REQUEST_HEADER_BYTES = 28;

/** One request, as it is sent. */
export interface Request {
  readonly command: number;
  readonly commandFlags?: number;
  /** Position on the disk, in bytes. */
  readonly offset: number;
  readonly lengthBytes: number;
}

interface Pending {
  readonly request: Request;
  /** Completes "Cannot …". */
  readonly action: string;
  readonly content: ReplyContent<unknown>;
  readonly answer: Deferred<unknown>;
  /** The first error that the server told in this reply. */
  serverError: Error | undefined;
}

/** Gives cookies to requests and settles them by what the decoder says. */
export class RequestTable {
  readonly #pending = new Map<number, Pending>();
  #nextCookie = 1;
  #idle: Deferred<void> | undefined;

  /**
   * Adds a request. `answer` resolves to what `content` made of the reply; it rejects with `OperationError` when the
   * server told an error, or with the error of `rejectAll`.
   */
  add<T>(
    request: Request,
    action: string,
    content: ReplyContent<T>,
  ): { readonly cookie: number; readonly answer: Promise<T> } {
    const cookie = this.#nextCookie++;
    const answer = deferred<T>();
    const pending = { request, action, content, answer: answer as Deferred<unknown>, serverError: undefined };
    this.#pending.set(cookie, pending);
    return { cookie, answer: answer.promise };
  }

  /** Takes the next event. Throws `FormatError` when it answers nothing that was asked; then only `rejectAll` helps. */
  take(event: ReplyEvent): void {
    const pending = this.#pending.get(event.cookie);
    if (pending === undefined) throw wrong("bad-value", `no request has the cookie ${event.cookie}`);
    switch (event.kind) {
      case "simple":
        this.#takeSimple(event.cookie, pending, event.errorCode);
        return;
      case "error":
        if (event.offset !== null && !isWithin(event.offset, pending.request)) {
          throw wrong("bad-value", `it tells an error at ${event.offset}, which is outside of the request`);
        }
        pending.serverError ??= refusal(pending.action, errorName(event.errorCode), event.text);
        return;
      case "done":
        this.#settle(event.cookie, pending);
        return;
      default:
        pending.content.take(event);
    }
  }

  /** Resolves when no request waits. */
  async whenIdle(): Promise<void> {
    if (this.#pending.size === 0) return;
    this.#idle ??= deferred();
    await this.#idle.promise;
  }

  /** Rejects all requests that wait. */
  rejectAll(error: Error): void {
    for (const { answer } of this.#pending.values()) answer.reject(error);
    this.#pending.clear();
    this.#tellIdle();
  }

  #takeSimple(cookie: number, pending: Pending, errorCode: number): void {
    if (errorCode !== 0) pending.serverError ??= refusal(pending.action, errorName(errorCode), "");
    this.#settle(cookie, pending);
  }

  #settle(cookie: number, pending: Pending): void {
    const { content, answer, serverError } = pending;
    if (serverError !== undefined) answer.reject(serverError);
    else answer.resolve(content.finish());
    this.#pending.delete(cookie);
    if (this.#pending.size === 0) this.#tellIdle();
  }

  #tellIdle(): void {
    this.#idle?.resolve();
    this.#idle = undefined;
  }
}

/** The head of a request; the data of a write follow it. */
export function encodeRequest(request: Request, cookie: number): Uint8Array {
  const bytes = new Uint8Array(REQUEST_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REQUEST_MAGIC);
  view.setUint16(4, request.commandFlags ?? 0);
  view.setUint16(6, request.command);
  view.setBigUint64(8, BigInt(cookie));
  view.setBigUint64(16, BigInt(request.offset));
  view.setUint32(24, request.lengthBytes);
  return bytes;
}

/** The request that ends the connection. It has no reply. */
export const DISCONNECT: Request = { command: Command.disconnect, offset: 0, lengthBytes: 0 };

function isWithin(offset: number, request: Request): boolean {
  return offset >= request.offset && offset < request.offset + request.lengthBytes;
}
