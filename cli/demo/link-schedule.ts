/**
 * The arithmetic of one direction of an emulated link: a bounded queue, a transmitter with a fixed rate behind
 * it, a pipe with a fixed delay behind that. It knows no sockets and no clock; times are given, in milliseconds.
 *
 *     push ─► queue (bounded) ─► transmitter ─► pipe ─► take
 *                                  piece leaves at     piece arrives at
 *                                  start + bytes/rate  leaving + delay
 *
 * All times follow from the times of the pushes, not from when somebody looks: late calls of `take` cost
 * precision of delivery at that moment, but never rate.
 */

/** Smallest piece that the transmitter sends at once, in bytes: about a network packet's payload. */
const MIN_PIECE_BYTES = 1448;

/** Shape of a direction. */
export interface LinkScheduleOptions {
  readonly rateBitsPerSecond: number;
  readonly delayMs: number;
  readonly queueBytes: number;
}

/** Part of a pushed parcel that has arrived: bytes `start` to `end`, exclusive. Empty for an empty parcel. */
export interface Arrival<Parcel> {
  readonly parcel: Parcel;
  readonly start: number;
  readonly end: number;
}

interface Queued<Parcel> {
  readonly parcel: Parcel;
  readonly lengthBytes: number;
  sentBytes: number;
}

interface InPipe<Parcel> extends Arrival<Parcel> {
  dueMs: number;
}

/** One direction. Parcels are opaque and keep their order; parcels of no bytes keep their place among the others. */
export class LinkSchedule<Parcel> {
  readonly #delayMs: number;
  readonly #queueBytes: number;
  readonly #queue = new Fifo<Queued<Parcel>>();
  readonly #pipe = new Fifo<InPipe<Parcel>>();
  #bytesPerMs = 0;
  #queuedBytes = 0;
  #departedBytes = 0;
  /** When the piece at the head of the queue began to leave; with an empty queue, when the last one had left. */
  #clockMs = 0;
  #heldUntilMs = 0;

  /** Throws `RangeError` for a rate that is not positive, a negative delay or an empty queue. */
  constructor(options: LinkScheduleOptions) {
    if (!(options.delayMs >= 0) || options.delayMs === Infinity) {
      throw new RangeError(`Cannot emulate a link with a delay of ${options.delayMs} ms`);
    }
    if (!(options.queueBytes > 0)) {
      throw new RangeError(`Cannot emulate a link with a queue of ${options.queueBytes} bytes`);
    }
    this.#delayMs = options.delayMs;
    this.#queueBytes = options.queueBytes;
    this.#bytesPerMs = toBytesPerMs(options.rateBitsPerSecond);
  }

  /** Bytes that the queue has room for. */
  get spaceBytes(): number {
    return this.#queueBytes - this.#queuedBytes;
  }

  /** Bytes that have left the transmitter so far. */
  get departedBytes(): number {
    return this.#departedBytes;
  }

  /** Appends a parcel. Throws `RangeError` when it is longer than `spaceBytes`. */
  push(parcel: Parcel, lengthBytes: number, nowMs: number): void {
    this.#transmit(nowMs);
    if (lengthBytes > this.spaceBytes) {
      throw new RangeError(`Cannot queue ${lengthBytes} bytes: there is room for ${this.spaceBytes}`);
    }
    if (this.#queue.head === undefined) this.#clockMs = Math.max(this.#clockMs, nowMs);
    this.#queue.push({ parcel, lengthBytes, sentBytes: 0 });
    this.#queuedBytes += lengthBytes;
  }

  /** Takes what has arrived by now, in order. */
  *take(nowMs: number): Generator<Arrival<Parcel>> {
    this.#transmit(nowMs);
    for (let head = this.#pipe.head; head !== undefined && head.dueMs <= nowMs; head = this.#pipe.head) {
      this.#pipe.shift();
      yield head;
    }
  }

  /** When something happens next, a departure or an arrival; `undefined` when all is empty. May lie in the past. */
  nextMs(): number | undefined {
    const queued = this.#queue.head;
    const arrival = this.#pipe.head?.dueMs;
    if (queued === undefined) return arrival;
    const departure = this.#clockMs + this.#pieceBytes(queued) / this.#bytesPerMs;
    return arrival === undefined ? departure : Math.min(arrival, departure);
  }

  /** Changes the rate from now on; the part of a piece that has left stays so. */
  setRate(rateBitsPerSecond: number, nowMs: number): void {
    const bytesPerMs = toBytesPerMs(rateBitsPerSecond);
    this.#transmit(nowMs);
    if (this.#queue.head !== undefined && this.#clockMs < nowMs) {
      this.#clockMs = nowMs - ((nowMs - this.#clockMs) * this.#bytesPerMs) / bytesPerMs;
    }
    this.#bytesPerMs = bytesPerMs;
  }

  /** Lets nothing leave or arrive for a while, as if all that is under way were sent again after it. */
  hold(durationMs: number, nowMs: number): void {
    this.#transmit(nowMs);
    const untilMs = nowMs + durationMs;
    const shiftMs = untilMs - Math.max(nowMs, this.#heldUntilMs);
    if (!(shiftMs > 0)) return;
    for (const piece of this.#pipe) piece.dueMs = Math.max(piece.dueMs, nowMs) + shiftMs;
    if (this.#queue.head === undefined) this.#clockMs = Math.max(this.#clockMs, untilMs);
    else this.#clockMs += shiftMs;
    this.#heldUntilMs = untilMs;
  }

  /** Forgets all that is under way, and a hold. */
  clear(): void {
    this.#queue.clear();
    this.#pipe.clear();
    this.#queuedBytes = 0;
    this.#clockMs = 0;
    this.#heldUntilMs = 0;
  }

  /** Moves what has left by now from the queue to the pipe. */
  #transmit(nowMs: number): void {
    for (let head = this.#queue.head; head !== undefined; head = this.#queue.head) {
      const pieceBytes = this.#pieceBytes(head);
      const leftMs = this.#clockMs + pieceBytes / this.#bytesPerMs;
      if (leftMs > nowMs) return;
      this.#clockMs = leftMs;
      const start = head.sentBytes;
      const end = start + pieceBytes;
      head.sentBytes = end;
      this.#queuedBytes -= pieceBytes;
      this.#departedBytes += pieceBytes;
      this.#pipe.push({ parcel: head.parcel, start, end, dueMs: leftMs + this.#delayMs });
      if (end === head.lengthBytes) this.#queue.shift();
    }
  }

  #pieceBytes(queued: Queued<Parcel>): number {
    const longest = Math.max(MIN_PIECE_BYTES, Math.floor(this.#bytesPerMs));
    return Math.min(queued.lengthBytes - queued.sentBytes, longest);
  }
}

/** A queue in an array, with the front cut off now and then. */
class Fifo<Item> {
  #items: Item[] = [];
  #first = 0;

  get head(): Item | undefined {
    return this.#items[this.#first];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): void {
    this.#first++;
    if (this.#first * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#first);
      this.#first = 0;
    }
  }

  clear(): void {
    this.#items = [];
    this.#first = 0;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (let index = this.#first; index < this.#items.length; index++) yield this.#items[index]!;
  }
}

function toBytesPerMs(rateBitsPerSecond: number): number {
  if (!(rateBitsPerSecond > 0) || rateBitsPerSecond === Infinity) {
    throw new RangeError(`Cannot emulate a link of ${rateBitsPerSecond} bit/s`);
  }
  return rateBitsPerSecond / 8000;
}
