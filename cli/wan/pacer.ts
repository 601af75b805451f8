/**
 * Keeps what is sent below a rate: a queue that lets go of a piece when the ones before it have had their time. A frame
 * takes a slow link for a long time, so it goes in pieces, which the WebSocket carries as fragments of one message
 * (RFC 6455, section 5.4).
 *
 * What the protocols around it add counts: 6 to 14 bytes for each fragment, and 22 for each record of TLS.
 */

import { performance } from "node:perf_hooks";

/** A frame, or the text of a message. */
export type Paced = Uint8Array | string;

/** A part of a frame or a message. */
export interface Piece {
  readonly data: Uint8Array;
  /** Of a message, not of a frame. */
  readonly isText: boolean;
  /** The last piece of it. */
  readonly isLast: boolean;
}

/** What may be let go at once, in time at the rate: a timer wakes up no finer. */
const burstMs = 5;
/** A piece takes no longer than this, unless that would be less than a packet. */
const pieceMs = 5;
const leastPieceBytes = 1400;
/** A timer that was late by no more than this loses nothing: in any second that is at most 2.5 %. */
const lateMs = 25;

const tlsRecordBytes = 16_384;
const tlsOverheadBytes = 22;

/** Bytes on the wire for a piece of a WebSocket message over TLS, in this direction. */
export function wireBytesOf(lengthBytes: number): number {
  const header = lengthBytes < 126 ? 6 : lengthBytes < 65_536 ? 8 : 14;
  return lengthBytes + header + tlsOverheadBytes * Math.ceil((lengthBytes + header) / tlsRecordBytes);
}

/** Where pieces of one connection go. */
export type SendPiece = (piece: Piece) => void;

interface Waiting {
  readonly piece: Piece;
  readonly send: SendPiece;
}

/** Sends at most `bytesPerSecond` over any stretch, and 35 ms' worth more, over all connections that share it. */
export class Pacer {
  private readonly bytesPerSecond: number;
  private readonly pieceBytes: number;
  private queue: Waiting[] = [];
  private timer: NodeJS.Timeout | null = null;
  /** Time at which everything let go so far has had its time. */
  private freeAt = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond;
    this.pieceBytes = Math.max(leastPieceBytes, Math.floor((bytesPerSecond * pieceMs) / 1000));
  }

  /** Sends the frame or message when its turn comes, in order. A connection is known by its `send`. */
  push(paced: Paced, send: SendPiece): void {
    const isText = typeof paced === "string";
    const data = isText ? new TextEncoder().encode(paced) : paced;
    let start = 0;
    do {
      const end = Math.min(data.length, start + this.pieceBytes);
      const piece = { data: data.subarray(start, end), isText, isLast: end === data.length };
      this.queue.push({ piece, send });
      start = end;
    } while (start < data.length);
    if (this.timer !== null) return;
    // Idle time is not saved up.
    this.freeAt = Math.max(this.freeAt, performance.now());
    this.letGo();
  }

  /** Sends what waits for a connection at once, in order, before anything else that the caller sends there next. */
  flush(send: SendPiece): void {
    for (const { piece } of this.take(send)) send(piece);
  }

  /** Forgets what waits for a connection. */
  forget(send: SendPiece): void {
    this.take(send);
  }

  private take(send: SendPiece): Waiting[] {
    const taken = this.queue.filter((one) => one.send === send);
    if (taken.length > 0) this.queue = this.queue.filter((one) => one.send !== send);
    if (this.queue.length === 0 && this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    return taken;
  }

  private letGo(): void {
    this.timer = null;
    const now = performance.now();
    this.freeAt = Math.max(this.freeAt, now - lateMs);
    while (this.queue.length > 0 && this.freeAt <= now + burstMs) {
      const { piece, send } = this.queue.shift() as Waiting;
      this.freeAt += (wireBytesOf(piece.data.length) / this.bytesPerSecond) * 1000;
      send(piece);
    }
    if (this.queue.length > 0)
      this.timer = setTimeout(() => this.letGo(), Math.max(1, this.freeAt - burstMs - now));
  }
}
