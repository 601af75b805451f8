/**
 * An emulated WAN link without privileges: a TCP relay on loopback with a rate, a delay and a bounded queue in
 * each direction, shared by all its connections.
 *
 * What is emulated: the handshake's round trip, the payload's rate and delay, half-close, reset, a stalled
 * receiver (its sender stops, other connections go on), a link that is cut. What is not: loss, headers, TCP's
 * slow start and congestion control; and the kernel's socket buffers on both sides hold bytes of their own.
 */

import { connect, createServer, type Server, type Socket } from "node:net";
import { messageOf, OperationError } from "../errors.ts";
import { LinkDirection } from "./link-direction.ts";

/** Smallest default queue, in bytes. */
const MIN_QUEUE_BYTES = 64 * 1024;

/** Shortest default queue, in milliseconds: it must not run empty between two calls of a timer. */
const MIN_QUEUE_MS = 5;

/** Longest time that `cut` takes, in milliseconds: what a timer can hold. */
const MAX_CUT_MS = 2 ** 31 - 1;

/** A link: who connects to its port talks with the target. */
export interface LinkOptions {
  /** Address to listen on; default `127.0.0.1`. */
  readonly host?: string;
  /** Port to listen on; default 0, any free one. */
  readonly listenPort?: number;
  readonly targetHost: string;
  readonly targetPort: number;
  /** Rate of each direction. */
  readonly rateBitsPerSecond: number;
  /** Half of the round-trip time. */
  readonly oneWayDelayMs: number;
  /** Queue of each direction; default one bandwidth-delay product, at least 64 KiB and 5 ms. */
  readonly queueBytes?: number;
}

/** Payload bytes sent so far: a is the side that connected to the link, b its target. */
export interface LinkStats {
  readonly aToB: number;
  readonly bToA: number;
}

/** One connection through the link. */
export interface LinkConnection {
  /** Counts from 1 in the order of connecting. */
  readonly id: number;
  /** Payload bytes that the side which connected has sent into the link so far. */
  readonly aToB: number;
}

/** A running link. */
export interface Link {
  readonly host: string;
  readonly port: number;
  stats(): LinkStats;
  /** The connections that are open, the oldest first. */
  connections(): LinkConnection[];
  /** Resets one connection; one that has ended stays ended. */
  reset(id: number): void;
  /** Changes the rate of both directions; the queue stays. Throws `RangeError` for an impossible one. */
  setRate(rateBitsPerSecond: number): void;
  /**
   * With a time in milliseconds: nothing passes for so long, then all goes on. Without: resets all connections,
   * and new ones as they come, until `restore`.
   */
  cut(durationMs?: number): void;
  /** Takes new connections again after `cut()`. */
  restore(): void;
  /** Resets all connections and frees the port. */
  close(): Promise<void>;
}

/**
 * Starts a link. Throws `RangeError` for impossible options, `OperationError` when it cannot listen.
 *
 *     const link = await startLink({ targetHost: "127.0.0.1", targetPort, rateBitsPerSecond: 100e6, oneWayDelayMs: 20 });
 *     connect(link.port, link.host);
 */
export async function startLink(options: LinkOptions): Promise<Link> {
  const emulator = new LinkEmulator(options);
  await emulator.listen();
  return emulator;
}

class LinkEmulator implements Link {
  readonly host: string;
  readonly #options: LinkOptions;
  readonly #aToB: LinkDirection;
  readonly #bToA: LinkDirection;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Map<number, Socket>();
  #accepted = 0;
  readonly #server: Server;
  #isCut = false;
  #port = 0;

  constructor(options: LinkOptions) {
    const { rateBitsPerSecond, oneWayDelayMs } = options;
    const queueMs = Math.max(2 * oneWayDelayMs, MIN_QUEUE_MS);
    const queueBytes =
      options.queueBytes ?? Math.max(MIN_QUEUE_BYTES, Math.ceil((rateBitsPerSecond / 8000) * queueMs));
    const shape = { rateBitsPerSecond, delayMs: oneWayDelayMs, queueBytes };
    this.host = options.host ?? "127.0.0.1";
    this.#options = options;
    this.#aToB = new LinkDirection(shape);
    this.#bToA = new LinkDirection(shape);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  get port(): number {
    return this.#port;
  }

  async listen(): Promise<void> {
    const { listenPort = 0 } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error) => {
        const message = `Cannot listen for the emulated link on ${this.host}:${listenPort}: ${messageOf(error)}`;
        reject(new OperationError("failed", message, { cause: error }));
      });
      this.#server.listen(listenPort, this.host, resolve);
    });
    const address = this.#server.address();
    if (address !== null && typeof address === "object") this.#port = address.port;
  }

  stats(): LinkStats {
    return { aToB: this.#aToB.sentBytes, bToA: this.#bToA.sentBytes };
  }

  connections(): LinkConnection[] {
    return [...this.#connections].map(([id, { bytesRead }]) => ({ id, aToB: bytesRead }));
  }

  reset(id: number): void {
    const socket = this.#connections.get(id);
    if (socket) reset(socket);
  }

  setRate(rateBitsPerSecond: number): void {
    this.#aToB.setRate(rateBitsPerSecond);
    this.#bToA.setRate(rateBitsPerSecond);
  }

  cut(durationMs?: number): void {
    if (durationMs === undefined) {
      this.#isCut = true;
      this.#resetAll();
      return;
    }
    if (!(durationMs >= 0 && durationMs <= MAX_CUT_MS)) {
      throw new RangeError(`Cannot cut the link for ${durationMs} ms`);
    }
    this.#aToB.hold(durationMs);
    this.#bToA.hold(durationMs);
  }

  restore(): void {
    this.#isCut = false;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#isCut = true;
    this.#resetAll();
    await closed;
  }

  /** The three packets of TCP's handshake cross the link before the payload does. */
  #accept(a: Socket): void {
    if (this.#isCut) {
      a.on("error", () => {});
      reset(a);
      return;
    }
    this.#watch(a);
    const id = ++this.#accepted;
    this.#connections.set(id, a);
    a.once("close", () => this.#connections.delete(id));
    let b: Socket | undefined;
    // Until the target is connected there is no one else to tell.
    a.once("close", () => this.#lost(a, b, this.#aToB));
    this.#aToB.signal(() => {
      if (a.destroyed) return;
      const target = connect({
        host: this.#options.targetHost,
        port: this.#options.targetPort,
        allowHalfOpen: true,
        noDelay: true,
      });
      b = target;
      this.#watch(target);
      target.once("close", () => this.#lost(target, a, this.#bToA));
      target.once("connect", () => {
        this.#bToA.signal(() => {
          if (a.destroyed) return;
          this.#aToB.signal(() => this.#bToA.carry(target, a));
          this.#aToB.carry(a, target);
        });
      });
    });
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket);
    // The close event that follows passes the loss on.
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /** A socket is gone; unless it and its peer had ended orderly, the peer is reset when the news arrives. */
  #lost(socket: Socket, peer: Socket | undefined, direction: LinkDirection): void {
    direction.stop(socket);
    const wasOrderly = socket.readableEnded && socket.writableFinished;
    if (peer === undefined || peer.destroyed || wasOrderly) return;
    direction.signal(() => reset(peer));
  }

  #resetAll(): void {
    this.#aToB.clear();
    this.#bToA.clear();
    const sockets = [...this.#sockets];
    this.#sockets.clear();
    for (const socket of sockets) reset(socket);
  }
}

function reset(socket: Socket): void {
  if (socket.destroyed) return;
  // Node would wait for the connection before it resets it.
  if (socket.connecting) socket.destroy();
  else socket.resetAndDestroy();
}
