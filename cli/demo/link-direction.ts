/**
 * One direction of an emulated link, with the sockets that feed it: it reads as much as its queue has room for,
 * a little from each connection in turn, and hands over what arrives. A timer runs only while bytes are under way.
 */

import type { Socket } from "node:net";
import { LinkSchedule, type LinkScheduleOptions } from "./link-schedule.ts";

/** Read from one connection before the next has its turn, in bytes. */
const TURN_BYTES = 16 * 1024;

/** A receiver with more than this unread stops the sender of its connection, in bytes; the others go on. */
const RECEIVER_WINDOW_BYTES = 64 * 1024;

interface Parcel {
  readonly bytes: Uint8Array;
  readonly arrive: (part: Uint8Array) => void;
}

const nothing = new Uint8Array(0);

/** One direction; all connections of a link share it. */
export class LinkDirection {
  readonly #schedule: LinkSchedule<Parcel>;
  /** Socket read from, and the one that its bytes go to; in the order of turns. */
  readonly #streams = new Map<Socket, Socket>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LinkScheduleOptions) {
    this.#schedule = new LinkSchedule(options);
  }

  /** Bytes that have left so far. */
  get sentBytes(): number {
    return this.#schedule.departedBytes;
  }

  /** Carries what `source` sends to `sink`, until `stop`; the end of `source` ends `sink`. */
  carry(source: Socket, sink: Socket): void {
    const onEnd = () => {
      this.stop(source);
      this.signal(() => sink.end());
    };
    // A socket that ends without a byte does so before anybody reads it.
    if (source.readableEnded) {
      onEnd();
      return;
    }
    this.#streams.set(source, sink);
    source.on("readable", () => this.#fill());
    source.on("end", onEnd);
    sink.on("drain", () => this.#fill());
    this.#fill();
  }

  /** Reads no more from a socket; what was read still arrives. */
  stop(source: Socket): void {
    this.#streams.delete(source);
  }

  /** Calls `arrive` when a packet of no length that is sent now arrives. */
  signal(arrive: () => void): void {
    this.#schedule.push({ bytes: nothing, arrive }, 0, performance.now());
    this.#arm();
  }

  setRate(rateBitsPerSecond: number): void {
    this.#schedule.setRate(rateBitsPerSecond, performance.now());
    this.#arm();
  }

  /** Nothing passes for a while. */
  hold(durationMs: number): void {
    this.#schedule.hold(durationMs, performance.now());
    this.#arm();
  }

  /** Forgets all connections and all that is under way. */
  clear(): void {
    this.#streams.clear();
    this.#schedule.clear();
    this.#arm();
  }

  #fill(): void {
    let progress = true;
    while (progress) {
      progress = false;
      for (const [source, sink] of [...this.#streams]) {
        if (this.#readTurn(source, sink)) progress = true;
      }
    }
    this.#arm();
  }

  #readTurn(source: Socket, sink: Socket): boolean {
    if (sink.writableLength > RECEIVER_WINDOW_BYTES) return false;
    const wanted = Math.min(source.readableLength, this.#schedule.spaceBytes, TURN_BYTES);
    const bytes: Uint8Array | null = wanted > 0 ? source.read(wanted) : null;
    if (bytes === null) {
      // Reading nothing makes an empty socket report its end, or ask the kernel for more.
      if (source.readableLength === 0) source.read(0);
      return false;
    }
    const arrive = (part: Uint8Array) => {
      if (sink.writable) sink.write(part);
    };
    this.#schedule.push({ bytes, arrive }, bytes.length, performance.now());
    // To the end of the row, so that a queue with room for one turn serves all.
    if (this.#streams.delete(source)) this.#streams.set(source, sink);
    return true;
  }

  #wake(): void {
    this.#timer = undefined;
    for (const { parcel, start, end } of this.#schedule.take(performance.now())) {
      parcel.arrive(parcel.bytes.subarray(start, end));
    }
    this.#fill();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const nextMs = this.#schedule.nextMs();
    // Rounded up: a timer that fires early finds nothing due. What is due then is sent at once.
    this.#timer =
      nextMs === undefined
        ? undefined
        : setTimeout(() => this.#wake(), Math.max(1, Math.ceil(nextMs - performance.now())));
  }
}
