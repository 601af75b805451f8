/** One authenticated connection between two agents: messages and frames, in order, and what it cost. */

import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import type { RawData, WebSocket } from "ws";
import { messageOf, OperationError } from "../errors.ts";
import { decodeMessage, encodeMessage, type Message, type MessageOf, type MessageType } from "./messages.ts";
import type { Pacer, SendPiece } from "./pacer.ts";

/** Something that arrived. */
export type Incoming = { readonly message: Message } | { readonly frame: Uint8Array };

/** Largest WebSocket message in bytes: a frame with all its limits used. */
export const maxWebSocketMessage = 4 << 20;

const idleBeatMs = 5_000;
const idleSilenceMs = 30_000;
/** What waits for a handler may take so much memory; then the socket is not read. */
const maxWaitingBytes = 8 << 20;
/** A message takes at least so much memory, however short it is. */
const messageOverheadBytes = 256;

/** Wraps a WebSocket. What arrives goes to the handler, or waits until there is one. */
export class PeerConnection {
  /** Site at the other end; set by the handshake. */
  site = "";
  private readonly socket: WebSocket;
  private readonly transport: Socket;
  private readonly waiting: Incoming[] = [];
  private handler: ((incoming: Incoming) => void) | null = null;
  private lost: OperationError | null = null;
  private pacer: Pacer | null = null;
  private handshakeBytes = 0;
  private idleBytes = 0;
  private pings = 0;
  private beatAt = 0;
  /** Round trip by the signs of life so far, in milliseconds; null before there was one. */
  rttMs: number | null = null;
  private waitingBytes = 0;
  private beatTimer: NodeJS.Timeout | null = null;
  /** Beats since the other end was last heard. Time alone would not do: a process that was stopped hears nobody. */
  private unheardBeats = 0;
  private readonly lostListeners = new Set<(error: OperationError) => void>();

  constructor(socket: WebSocket, transport: Socket) {
    this.socket = socket;
    this.transport = transport;
    transport.setNoDelay(true);
    socket.on("message", (data, isBinary) => this.receive(data, isBinary));
    socket.on("close", () => this.lose("the connection was closed"));
    socket.on("error", (error) => this.lose(messageOf(error)));
    socket.on("pong", (data) => {
      this.unheardBeats = 0;
      if (data.length > 0 || this.beatAt === 0) return;
      const ms = performance.now() - this.beatAt;
      // A busy process hears late: a longer time counts only little by little.
      this.rttMs = this.rttMs === null ? ms : Math.min(ms, this.rttMs * 1.5);
    });
    this.watch(idleBeatMs, idleSilenceMs);
    this.onLost(() => this.beatTimer && clearInterval(this.beatTimer));
  }

  /** From now on asks for a sign of life each `beatMs`, and takes the connection for lost after `silenceMs` without one. */
  watch(beatMs: number, silenceMs: number): void {
    if (this.lost) return;
    if (this.beatTimer !== null) clearInterval(this.beatTimer);
    this.unheardBeats = 0;
    this.beatTimer = setInterval(() => this.beat(beatMs, silenceMs), beatMs).unref();
  }

  /** Milliseconds until a sign of life comes back; null if the connection is lost or it takes longer than `timeoutMs`. */
  async roundTripMs(timeoutMs: number): Promise<number | null> {
    if (this.lost) return null;
    const mark = Buffer.from(`rtt${++this.pings}`);
    const begun = performance.now();
    return await new Promise((resolve) => {
      const settle = (ms: number | null) => {
        clearTimeout(timer);
        stopWatching();
        this.socket.off("pong", onPong);
        resolve(ms);
      };
      const onPong = (data: Buffer) => {
        if (data.equals(mark)) settle(performance.now() - begun);
      };
      const timer = setTimeout(() => settle(null), timeoutMs);
      const stopWatching = this.onLost(() => queueMicrotask(() => settle(null)));
      this.socket.on("pong", onPong);
      this.socket.ping(mark);
    });
  }

  /** Stops reading; the other end is slowed down. */
  pause(): void {
    this.socket.pause();
  }

  /** Reads on. */
  resume(): void {
    this.socket.resume();
  }

  /** Bytes on the wire in both directions: of the handshake, and since it or since `beginCount`. */
  get wireBytes(): number {
    return this.transport.bytesWritten + this.transport.bytesRead - this.idleBytes;
  }

  /** The handshake has ended. */
  markAuthenticated(): void {
    this.handshakeBytes = this.wireBytes;
  }

  /** Counts anew what crosses the wire, as if the handshake had just ended: what kept it alive does not count. */
  beginCount(): void {
    this.idleBytes += this.wireBytes - this.handshakeBytes;
  }

  get isOpen(): boolean {
    return this.lost === null;
  }

  /** Sends a message. Does nothing when the connection is lost: the loss is reported once, by `onLost`. */
  send(message: Message): void {
    const text = encodeMessage(message);
    if (this.pacer) this.pacer.push(text, this.sendPiece);
    else this.sendNow(text);
  }

  /** Sends a frame. The bytes must not change afterwards. */
  sendFrame(frame: Uint8Array): void {
    if (this.pacer) this.pacer.push(frame, this.sendPiece);
    else this.sendNow(frame);
  }

  /** From now on what is sent waits for its turn, framing included, also behind what other connections send. */
  paceWith(pacer: Pacer): void {
    this.pacer = pacer;
  }

  /** Forgets what still waits for its turn: a connection that is given up need not send it. */
  forgetPaced(): void {
    this.pacer?.forget(this.sendPiece);
  }

  /** Hands everything that arrives, in order, to `handler`, beginning with what waits. */
  receiveWith(handler: ((incoming: Incoming) => void) | null): void {
    this.handler = handler;
    while (this.handler !== null && this.waiting.length > 0) this.handler(this.waiting.shift() as Incoming);
    if (this.waiting.length > 0 || this.waitingBytes === 0) return;
    this.waitingBytes = 0;
    this.socket.resume();
  }

  /** Calls `listener` once when the connection is lost, at once if it is lost already. */
  onLost(listener: (error: OperationError) => void): () => void {
    if (this.lost) listener(this.lost);
    else this.lostListeners.add(listener);
    return () => this.lostListeners.delete(listener);
  }

  /** The next message, which must be of the given type; an `abort` becomes its error. */
  async expect<T extends MessageType>(type: T, timeoutMs: number): Promise<MessageOf<T>> {
    const incoming = await this.next(timeoutMs, `'${type}'`);
    const message = "message" in incoming ? incoming.message : null;
    if (message?.type === type) return message as MessageOf<T>;
    if (message?.type === "abort") throw abortError(message, this.site);
    throw protocolError(this.site, `'${message?.type ?? "a frame"}' came instead of '${type}'`);
  }

  /** The next thing that arrives. Rejects with OperationError on loss, or after the time (null: never). */
  async next(timeoutMs: number | null, what = "message"): Promise<Incoming> {
    return await new Promise((resolve, reject) => {
      const settle = (action: () => void) => {
        if (timer !== null) clearTimeout(timer);
        stopWatching();
        this.receiveWith(null);
        action();
      };
      const onLate = () => {
        const late = `Cannot go on with ${this.site || "the peer"}: no ${what} within ${timeoutMs} ms`;
        settle(() => reject(new OperationError("failed", late)));
      };
      const timer = timeoutMs === null ? null : setTimeout(onLate, timeoutMs);
      // In a microtask: what arrived before the loss comes first.
      const stopWatching = this.onLost((error) => queueMicrotask(() => settle(() => reject(error))));
      this.receiveWith((incoming) => settle(() => resolve(incoming)));
    });
  }

  /** Ends the connection in order, after what was sent. */
  close(): void {
    this.pacer?.flush(this.sendPiece);
    this.socket.close();
    // A peer that does not answer the close must not keep the process alive.
    setTimeout(() => this.socket.terminate(), 1000).unref();
  }

  /** Ends the connection at once and reports `reason` as the loss. */
  fail(reason: string): void {
    this.lose(reason);
    this.socket.terminate();
  }

  private readonly sendPiece: SendPiece = ({ data, isText, isLast }) => {
    if (this.lost === null) this.socket.send(data, { binary: !isText, fin: isLast });
  };

  private sendNow(data: Uint8Array | string): void {
    if (this.lost === null) this.socket.send(data);
  }

  /** A peer that went away without a word is noticed by its silence. */
  private beat(beatMs: number, silenceMs: number): void {
    if (this.unheardBeats * beatMs >= silenceMs) {
      this.fail(`no answer for ${Math.round(silenceMs / 100) / 10} s`);
      return;
    }
    this.unheardBeats++;
    this.beatAt = performance.now();
    this.socket.ping();
  }

  private receive(data: RawData, isBinary: boolean): void {
    if (this.lost) return;
    this.unheardBeats = 0;
    let incoming: Incoming;
    try {
      const bytes = data as Buffer;
      incoming = isBinary ? { frame: bytes } : { message: decodeMessage(bytes.toString("utf8")) };
    } catch (error) {
      this.fail(messageOf(error));
      return;
    }
    if (this.handler !== null) {
      this.handler(incoming);
      return;
    }
    this.waiting.push(incoming);
    this.waitingBytes += (data as Buffer).length + messageOverheadBytes;
    if (this.waitingBytes > maxWaitingBytes) this.socket.pause();
  }

  private lose(reason: string): void {
    if (this.lost) return;
    this.forgetPaced();
    this.lost = new OperationError("failed", `Lost the connection to ${this.site || "the peer"}: ${reason}`);
    for (const listener of this.lostListeners) listener(this.lost);
    this.lostListeners.clear();
  }
}

/** The error that a peer's `abort` stands for. */
export function abortError(message: MessageOf<"abort">, site: string): OperationError {
  return new OperationError(
    message.reason === "refused" ? "refused" : "failed",
    `Site ${site || "at the other end"} ended it: ${message.message}`,
  );
}

/** The peer does not follow the protocol. */
export function protocolError(site: string, what: string): OperationError {
  return new OperationError("failed", `Cannot go on with ${site || "the peer"}: ${what}`);
}
