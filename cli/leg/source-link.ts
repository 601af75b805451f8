/**
 * The source's end of a leg's link: it outlives connections. Frames are kept until they are acknowledged, messages
 * until they are known to be there; after a loss both sides tell what they have, and the rest is sent again, in order.
 *
 *     up ──connection lost──► down ──connect, resume, resumed──► up
 *                               └──patience over, refused, leg unknown there──► failed
 */

import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, OperationError } from "../errors.ts";
import type { Incoming, PeerConnection } from "../wan/connection.ts";
import type { Message, MessageOf } from "../wan/messages.ts";
import { Pacer } from "../wan/pacer.ts";
import type { LegSink } from "./leg-sink.ts";
import { Outbox } from "./outbox.ts";
import { Stripes } from "./stripes.ts";

const firstRetryMs = 100;
const lastRetryMs = 5_000;
/** How long the peer may take to say what it has: frames that wait there are stored first. */
const resumedTimeoutMs = 15_000;

/** How long a lost link is borne, and how soon its loss is noticed. */
export interface Patience {
  /** From the loss until the leg is given up, in milliseconds. */
  readonly timeoutMs: number;
  /** Between two signs of life that are asked for. */
  readonly beatMs: number;
  /** Silence that means loss. */
  readonly silenceMs: number;
}

/** What a link needs. */
export interface SourceLinkOptions {
  readonly legId: string;
  readonly vm: string;
  readonly peer: string;
  /** The first connection of the leg. */
  readonly connect: () => Promise<PeerConnection>;
  /** A new one, after a loss or beside it. */
  readonly reconnect: () => Promise<PeerConnection>;
  /** Connections that carry frames, at most; 1: only the main one. */
  readonly streams: number;
  /** What all of them together may carry; null: as much as they can. */
  readonly bytesPerSecond: number | null;
  readonly patience: Patience;
  readonly onIncoming: (incoming: Incoming) => void;
  /** The link was lost, or is there again and everything that waited was sent. */
  readonly onChange: (isUp: boolean) => void;
  /**
   * Frames are with the peer, all up to this number; in a striped leg as many as that, if not these: some of them may
   * wait there for others.
   */
  readonly onDelivered: (sequence: number) => void;
  /** What was sent before the loss is about to be sent again. */
  readonly onResend: () => void;
  readonly onFailed: (error: Error) => void;
  readonly warn: (message: string) => void;
}

/** The link of one leg. */
export class SourceLink implements LegSink {
  /** Times that the link was lost and came back. */
  reconnects = 0;
  private repeatedBytes = 0;
  private readonly options: SourceLinkOptions;
  private readonly outbox = new Outbox();
  /** Null: the main connection carries everything. */
  private readonly stripes: Stripes | null;
  /** One for all connections of the leg. */
  private readonly pacer: Pacer | null;
  private patience: Patience;
  private current: PeerConnection | null = null;
  private last: PeerConnection | null = null;
  private pastBytes = 0;
  private heard = 0;
  private downSince = 0;
  private wakeUp: (() => void)[] = [];
  private deadline: NodeJS.Timeout | null = null;
  private readonly ended = new AbortController();

  constructor(options: SourceLinkOptions) {
    this.options = options;
    this.patience = options.patience;
    const { legId, vm, peer, streams: count, bytesPerSecond, reconnect: dial, onDelivered, warn } = options;
    const pacer = bytesPerSecond === null ? null : new Pacer(bytesPerSecond);
    this.pacer = pacer;
    const watch = (connection: PeerConnection) =>
      connection.watch(this.patience.beatMs, this.patience.silenceMs);
    const onFailed = (error: Error) => this.fail(error);
    this.stripes =
      count === 1
        ? null
        : new Stripes({ legId, vm, peer, count, pacer, dial, watch, onDelivered, onFailed, warn });
  }

  /** Makes the first connection. Throws OperationError: a peer that cannot be reached is no lost link. */
  async open(): Promise<void> {
    const connection = await this.options.connect();
    if (this.ended.signal.aborted) connection.close();
    else this.bind(connection);
  }

  /** Bytes of frames that were sent more than once. */
  get resentBytes(): number {
    return this.repeatedBytes + (this.stripes?.resentBytes ?? 0);
  }

  get isUp(): boolean {
    return this.current !== null;
  }

  /** True if there ever was a connection. */
  get wasOpen(): boolean {
    return this.last !== null;
  }

  /** Resolves when there is a connection; if the link is given up, never. */
  async untilUp(): Promise<void> {
    while (!this.isUp) await new Promise<void>((resolve) => this.wakeUp.push(resolve));
  }

  /** The newest connection, perhaps lost. Throws Error before `open`. */
  get connection(): PeerConnection {
    if (this.last === null) throw new Error("the link was never opened");
    return this.last;
  }

  /** Bytes on the wire in both directions, over all connections. */
  get wireBytes(): number {
    return this.mainBytes + (this.stripes?.wireBytes ?? 0);
  }

  /** Takes a message; it is sent now, or as soon as the link is back. */
  send(message: Message): void {
    this.outbox.addMessage(message);
    this.current?.send(message);
  }

  /** Takes a frame; it is sent now, or as soon as the link is back. */
  sendFrame(frame: Uint8Array, sequence: number): void {
    this.outbox.addFrame(frame, sequence);
    if (this.current) this.passFrame(this.current, frame, sequence);
  }

  /** From now on a loss is noticed, and borne, as this says; also one that is under way. */
  setPatience(patience: Patience): void {
    this.patience = patience;
    this.current?.watch(patience.beatMs, patience.silenceMs);
    this.stripes?.watchAgain();
    if (this.deadline !== null) this.startDeadline();
  }

  /** Ends the link. `farewell` is sent if there is a connection. */
  close(farewell?: Message): void {
    if (this.ended.signal.aborted) return;
    this.leave();
    if (farewell) this.current?.send(farewell);
    this.last?.close();
    this.current = null;
  }

  /** Leaves the connection to the caller, and watches it no more. */
  handOut(): PeerConnection {
    this.leave();
    this.current?.receiveWith(null);
    return this.connection;
  }

  private leave(): void {
    this.ended.abort();
    this.stripes?.end();
    if (this.deadline !== null) clearTimeout(this.deadline);
    this.deadline = null;
  }

  private get mainBytes(): number {
    return this.pastBytes + (this.last?.wireBytes ?? 0);
  }

  private passFrame(connection: PeerConnection, frame: Uint8Array, sequence: number): void {
    if (this.stripes) this.stripes.add(frame, sequence);
    else connection.sendFrame(frame);
  }

  private bind(connection: PeerConnection): void {
    this.pastBytes = this.mainBytes;
    this.current = connection;
    this.last = connection;
    connection.watch(this.patience.beatMs, this.patience.silenceMs);
    if (this.pacer) connection.paceWith(this.pacer);
    this.stripes?.begin(connection);
    connection.receiveWith((incoming) => this.receive(incoming));
    connection.onLost((error) => this.lost(connection, error));
  }

  private receive(incoming: Incoming): void {
    if ("message" in incoming) {
      const { message } = incoming;
      if (message.type === "arrived" && this.stripes) {
        this.stripes.arrived(message.frames);
        return;
      }
      if (message.type === "ack") {
        this.acknowledged(message.sequence);
        return;
      }
      this.heard++;
      // Whatever the peer says here, it knows the leg.
      this.stripes?.known();
    }
    this.options.onIncoming(incoming);
  }

  private acknowledged(sequence: number): void {
    this.outbox.acknowledged(sequence);
    if (this.stripes) this.stripes.acknowledged(sequence);
    else this.options.onDelivered(sequence);
  }

  private lost(connection: PeerConnection, error: OperationError): void {
    if (this.ended.signal.aborted || connection !== this.current) return;
    this.current = null;
    this.stripes?.end();
    this.downSince = performance.now();
    this.options.warn(`${messageOf(error)}; the leg waits for the link`);
    this.options.onChange(false);
    this.startDeadline();
    this.reconnect().catch((failure) => this.fail(failure));
  }

  private startDeadline(): void {
    if (this.deadline !== null) clearTimeout(this.deadline);
    const { timeoutMs } = this.patience;
    this.deadline = setTimeout(() => {
      const waitedMs = Math.round(performance.now() - this.downSince);
      this.fail(
        new OperationError(
          "failed",
          `The link to ${this.options.peer} was lost for ${waitedMs} ms and did not come back`,
        ),
      );
    }, timeoutMs);
  }

  private fail(error: unknown): void {
    if (this.ended.signal.aborted) return;
    this.leave();
    this.options.onFailed(error as Error);
  }

  /** Tries until there is a connection on which the leg goes on. Throws OperationError if it never can. */
  private async reconnect(): Promise<void> {
    const { signal } = this.ended;
    for (let waitMs = firstRetryMs; !signal.aborted; waitMs = Math.min(2 * waitMs, this.longestWaitMs)) {
      const connection = await this.options.reconnect().catch((error: unknown) => {
        if (error instanceof OperationError && error.reason === "refused") throw error;
        return null;
      });
      const resumed = connection && (await this.agree(connection));
      if (signal.aborted) return connection?.close();
      if (connection && resumed) return this.resume(connection, resumed);
      // Not all legs that lost their link at the same moment should come back at the same moment.
      await sleep(waitMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
    }
  }

  /** Little patience needs more tries. */
  private get longestWaitMs(): number {
    return Math.min(lastRetryMs, this.patience.timeoutMs / 8);
  }

  /** Asks what the peer has; null if this connection was lost too. */
  private async agree(connection: PeerConnection): Promise<MessageOf<"resumed"> | null> {
    const { legId, vm } = this.options;
    connection.send({ type: "resume", leg: legId, vm, messages: this.heard });
    const incoming = await connection.next(resumedTimeoutMs, "'resumed'").catch(() => null);
    if (incoming && "message" in incoming && incoming.message.type === "resumed") return incoming.message;
    connection.close();
    if (incoming && "message" in incoming && incoming.message.type === "abort") {
      throw new OperationError(
        "failed",
        `${this.options.peer} has ended the leg: ${incoming.message.message}`,
      );
    }
    return null;
  }

  private resume(connection: PeerConnection, { messages, sequence }: MessageOf<"resumed">): void {
    const { peer, onChange, onResend } = this.options;
    if (messages === 0 && !this.outbox.isWhole) {
      connection.close();
      throw new OperationError("failed", `${peer} has lost the leg: its agent was restarted, or it gave up`);
    }
    // The leg begins anew there, and so does what it sends.
    if (messages === 0) this.heard = 0;
    if (sequence > 1) this.acknowledged(sequence);
    onResend();
    if (this.deadline !== null) clearTimeout(this.deadline);
    this.deadline = null;
    this.reconnects++;
    this.bind(connection);
    if (messages > 0) this.stripes?.known();
    for (const { frame, message, number } of this.outbox.after(messages, sequence)) {
      if (message) connection.send(message);
      else if (frame) {
        this.repeatedBytes += frame.length;
        this.passFrame(connection, frame, number);
      }
    }
    this.options.warn(`The link to ${peer} is back; the leg goes on after frame ${sequence}`);
    onChange(this.isUp);
    for (const wake of this.wakeUp.splice(0)) wake();
  }
}
