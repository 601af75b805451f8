/**
 * The destination's end of a leg's link: when the connection is lost the leg waits for the source, which comes back on
 * another connection with `resume` and hears what is here.
 */

import { OperationError } from "../errors.ts";
import { type Incoming, type PeerConnection, protocolError } from "../wan/connection.ts";
import type { Message } from "../wan/messages.ts";
import { FrameOrder } from "./frame-order.ts";

/** The source gives up first: what it says then still finds the leg. */
const marginMs = 5_000;
const beatMs = 2_000;
const silenceMs = 10_000;

/** What a link needs. */
export interface DestinationLinkOptions {
  readonly legId: string;
  readonly connection: PeerConnection;
  /** How long to wait for the source. */
  readonly timeoutMs: number;
  /** Connections that may carry its frames; 1: only the main one. */
  readonly streams: number;
  readonly onIncoming: (incoming: Incoming) => void;
  readonly onGivenUp: (error: Error) => void;
  readonly warn: (message: string) => void;
}

/** The link of one leg. */
export class DestinationLink {
  private readonly options: DestinationLinkOptions;
  private current: PeerConnection | null;
  /** Null: all comes on one connection, in order. */
  private readonly order: FrameOrder | null;
  private readonly further = new Map<number, PeerConnection>();
  /** Messages of the leg that came: `prepare` was the first. */
  private received = 1;
  private readonly sent: Message[] = [];
  private timer: NodeJS.Timeout | null = null;
  private denial: Error | null = null;
  private isOver = false;
  private isPaused = false;
  private isHandedOut = false;
  private isFinished = false;
  private wakeUp: () => void = () => {};

  constructor(options: DestinationLinkOptions) {
    this.options = options;
    this.current = options.connection;
    this.order = options.streams > 1 ? new FrameOrder() : null;
    this.bind(options.connection);
  }

  /** Sends a message, again after a loss. */
  send(message: Message): void {
    this.sent.push(message);
    this.current?.send(message);
  }

  /**
   * A further connection of the source, which carries frames only. One that had its number before is dropped: the source
   * knows that it is lost. Throws OperationError if there is no use for it.
   */
  join(connection: PeerConnection, stream: number): void {
    const { streams, legId } = this.options;
    if (stream >= streams) throw protocolError(connection.site, `it has announced ${streams} connections`);
    if (this.current === null || this.isFinished || this.isOver) {
      throw new OperationError("failed", "Cannot join: the leg has no main connection now");
    }
    drop(this.further.get(stream));
    this.further.set(stream, connection);
    connection.watch(beatMs, silenceMs);
    if (this.isPaused) connection.pause();
    connection.send({ type: "joined", leg: legId, stream });
    const take = this.taker(connection, () => this.further.get(stream) === connection);
    connection.receiveWith(take);
    connection.onLost(() => {
      if (this.further.get(stream) === connection) this.further.delete(stream);
    });
  }

  /** The leg is done: what comes from now on waits for whoever gets the connection from `handOut`. */
  finish(): void {
    this.isFinished = true;
    this.dropFurther();
    this.current?.receiveWith(null);
  }

  /** A frame is in the store. After a loss `resumed` says so. */
  acknowledge(sequence: number): void {
    this.current?.send({ type: "ack", sequence });
  }

  /** Stops reading until `read`; the source is slowed down. */
  pause(): void {
    this.isPaused = true;
    for (const connection of this.connections) connection.pause();
  }

  /** Reads on, if it was paused. */
  read(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    for (const connection of this.connections) connection.resume();
  }

  /** The last word on a leg that failed, if anybody hears it. */
  sendLast(message: Message): void {
    this.current?.send(message);
  }

  /**
   * The source has said that this leg is not under way any more, or (null) that it is. What it says may be older than the
   * leg, so it counts only when the connection is lost: else the source itself would end it.
   */
  deny(denial: Error | null): void {
    this.denial = denial;
    if (this.current === null) this.wait();
  }

  /** Nothing that the old connection still brings counts any more: the source sends it again. */
  detach(): void {
    this.denial = null;
    const old = this.current;
    this.current = null;
    drop(old);
    this.dropFurther();
    this.wait();
  }

  /**
   * The leg goes on here. `heard`: messages of this side that the source has; `sequence`: the last frame in the store.
   * Throws OperationError if the source has more than was sent.
   */
  resume(connection: PeerConnection, heard: number, sequence: number): void {
    if (heard > this.sent.length)
      throw protocolError(connection.site, "it has messages that were never sent");
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.isPaused = false;
    this.order?.forget();
    this.current = connection;
    connection.send({ type: "resumed", leg: this.options.legId, messages: this.received, sequence });
    for (const message of this.sent.slice(heard)) connection.send(message);
    if (this.isHandedOut) {
      // Nobody reads here any more: the source must not wait for an answer.
      connection.close();
      return;
    }
    this.bind(connection);
    this.options.warn(`The link to ${connection.site} is back; the leg goes on after frame ${sequence}`);
    this.wakeUp();
  }

  /** After `finish`: the connection, as soon as there is one; null when none comes in time. What it brings is the caller's. */
  async handOut(timeoutMs: number): Promise<PeerConnection | null> {
    if (this.current === null) {
      await new Promise<void>((resolve) => {
        this.wakeUp = resolve;
        setTimeout(resolve, timeoutMs).unref();
      });
    }
    this.end();
    this.isHandedOut = true;
    return this.current;
  }

  /** Waits for nobody any more. */
  end(): void {
    this.isOver = true;
    this.dropFurther();
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private get connections(): PeerConnection[] {
    return [...(this.current ? [this.current] : []), ...this.further.values()];
  }

  private dropFurther(): void {
    for (const connection of this.further.values()) drop(connection);
    this.further.clear();
  }

  /** What takes what a connection brings, as long as it is one of the leg's. */
  private taker(connection: PeerConnection, isCurrent: () => boolean): (incoming: Incoming) => void {
    const { order } = this;
    const { onIncoming, onGivenUp } = this.options;
    let frames = 0;
    return (incoming) => {
      if (!isCurrent()) return;
      const isMain = connection === this.current;
      if ("message" in incoming && isMain) this.received++;
      if (order === null) return onIncoming(incoming);
      try {
        if ("frame" in incoming) connection.send({ type: "arrived", frames: ++frames });
        else if (!isMain) throw protocolError(connection.site, "a message came where only frames belong");
        for (const next of "frame" in incoming
          ? order.frame(incoming.frame)
          : order.message(incoming.message)) {
          onIncoming(next);
        }
      } catch (error) {
        onGivenUp(error as Error);
      }
    };
  }

  private bind(connection: PeerConnection): void {
    connection.watch(beatMs, silenceMs);
    // First: what came before the connection was lost counts, such as the word that the leg is over.
    if (!this.isFinished) {
      connection.receiveWith(this.taker(connection, () => connection === this.current));
    }
    connection.onLost((error) => {
      if (this.isOver || connection !== this.current) return;
      this.current = null;
      this.dropFurther();
      if (this.denial === null) this.options.warn(`${error.message}; the leg waits for the link`);
      this.wait();
    });
  }

  private wait(): void {
    const { timeoutMs, connection, onGivenUp } = this.options;
    if (this.isOver) return;
    if (this.denial !== null) onGivenUp(this.denial);
    if (this.denial !== null || this.timer !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      onGivenUp(
        new OperationError(
          "failed",
          `The link to ${connection.site} was lost for ${timeoutMs} ms and did not come back`,
        ),
      );
    }, timeoutMs + marginMs);
  }
}

/** Nothing that it still brings counts any more. */
function drop(connection: PeerConnection | null | undefined): void {
  connection?.receiveWith(() => {});
  connection?.close();
}
