/**
 * The destination's end of a leg's link: when the connection is lost the leg waits for the source, which comes back on
 * another connection with `resume` and hears what is here.
 */

import { OperationError } from "../errors.ts";
import { type Incoming, type PeerConnection, protocolError } from "../wan/connection.ts";
import type { Message } from "../wan/messages.ts";

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
  readonly onIncoming: (incoming: Incoming) => void;
  readonly onGivenUp: (error: Error) => void;
  readonly warn: (message: string) => void;
}

/** The link of one leg. */
export class DestinationLink {
  private readonly options: DestinationLinkOptions;
  private current: PeerConnection | null;
  /** Messages of the leg that came: `prepare` was the first. */
  private received = 1;
  private readonly sent: Message[] = [];
  private timer: NodeJS.Timeout | null = null;
  private isOver = false;
  private isPaused = false;
  private isHandedOut = false;
  private isFinished = false;
  private wakeUp: () => void = () => {};

  constructor(options: DestinationLinkOptions) {
    this.options = options;
    this.current = options.connection;
    this.bind(options.connection);
  }

  /** Sends a message, again after a loss. */
  send(message: Message): void {
    this.sent.push(message);
    this.current?.send(message);
  }

  /** The leg is done: what comes from now on waits for whoever gets the connection from `handOut`. */
  finish(): void {
    this.isFinished = true;
    this.current?.receiveWith(null);
  }

  /** A frame is in the store. After a loss `resumed` says so. */
  acknowledge(sequence: number): void {
    this.current?.send({ type: "ack", sequence });
  }

  /** Stops reading until `read`; the source is slowed down. */
  pause(): void {
    this.isPaused = true;
    this.current?.pause();
  }

  /** Reads on, if it was paused. */
  read(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.current?.resume();
  }

  /** The last word on a leg that failed, if anybody hears it. */
  sendLast(message: Message): void {
    this.current?.send(message);
  }

  /** Nothing that the old connection still brings counts any more: the source sends it again. */
  detach(): void {
    const old = this.current;
    this.current = null;
    old?.receiveWith(() => {});
    old?.close();
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
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private bind(connection: PeerConnection): void {
    connection.watch(beatMs, silenceMs);
    // First: what came before the connection was lost counts, such as the word that the leg is over.
    if (!this.isFinished) {
      connection.receiveWith((incoming) => {
        if (connection !== this.current) return;
        if ("message" in incoming) this.received++;
        this.options.onIncoming(incoming);
      });
    }
    connection.onLost((error) => {
      if (this.isOver || connection !== this.current) return;
      this.current = null;
      this.options.warn(`${error.message}; the leg waits for the link`);
      this.wait();
    });
  }

  private wait(): void {
    if (this.isOver || this.timer !== null) return;
    const { timeoutMs, connection, onGivenUp } = this.options;
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
