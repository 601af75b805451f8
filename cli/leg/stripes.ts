/**
 * The connections of a striped leg, at the source: the main one, which the link brings, and further ones that are dialled
 * here, join the leg and carry frames only. One that is lost is dialled again; meanwhile its frames go over the others.
 * Without the main one there is none: they are dropped with it, and join again when it is back.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, OperationError } from "../errors.ts";
import { deferred } from "../qemu/deferred.ts";
import { type Incoming, type PeerConnection, protocolError } from "../wan/connection.ts";
import type { Pacer } from "../wan/pacer.ts";
import { FrameSpreader } from "./frame-spreader.ts";
import type { Lane } from "./lane.ts";

const firstRetryMs = 250;
const lastRetryMs = 10_000;
const joinedTimeoutMs = 15_000;
/** How often late frames are looked for. */
const lookAgainMs = 50;

/** What stripes need. */
export interface StripesOptions {
  readonly legId: string;
  readonly vm: string;
  readonly peer: string;
  /** Connections of the leg, with the main one: 2 or more. */
  readonly count: number;
  /** Keeps all of them together below a rate; null: they carry as much as they can. */
  readonly pacer: Pacer | null;
  readonly dial: () => Promise<PeerConnection>;
  /** How soon the loss of a further connection is noticed. */
  readonly watch: (connection: PeerConnection) => void;
  /** Frames have arrived: as many as if it were all up to this number. */
  readonly onDelivered: (sequence: number) => void;
  /** The peer does not follow the protocol. */
  readonly onFailed: (error: Error) => void;
  readonly warn: (message: string) => void;
}

/** The connections while there is a main one. */
interface Bundle {
  readonly main: Lane;
  readonly further: Set<PeerConnection>;
  /** Resolves when the peer knows the leg. */
  readonly known: Promise<void>;
  readonly learnt: () => void;
  readonly ended: AbortController;
}

/** The connections of one leg. */
export class Stripes {
  private lostBytes = 0;
  private readonly options: StripesOptions;
  private readonly spreader: FrameSpreader;
  private bundle: Bundle | null = null;
  private readonly open = new Set<PeerConnection>();
  private pastBytes = 0;
  private lastWarning = "";
  private timer: NodeJS.Timeout | null = null;

  constructor(options: StripesOptions) {
    this.options = options;
    // What is sent once more would come on top of the rate.
    this.spreader = new FrameSpreader(options.pacer === null);
  }

  /** Bytes of frames that were sent again because a further connection was lost, or was slow. */
  get resentBytes(): number {
    return this.lostBytes + this.spreader.repeatedBytes;
  }

  /** Bytes on the wire in both directions, over all further connections. */
  get wireBytes(): number {
    let sum = this.pastBytes;
    for (const connection of this.open) sum += connection.wireBytes;
    return sum;
  }

  /** There is a main connection. Others are dialled at once; they join the leg when the peer knows it. */
  begin(connection: PeerConnection): void {
    const main = this.spreader.open((frame) => connection.sendFrame(frame));
    const { promise: known, resolve: learnt } = deferred();
    const bundle = { main, further: new Set<PeerConnection>(), known, learnt, ended: new AbortController() };
    this.bundle = bundle;
    this.timer = setInterval(() => this.spreader.lookAgain(), lookAgainMs).unref();
    for (let stream = 1; stream < this.options.count; stream++) void this.keep(stream, bundle);
  }

  /** The peer knows the leg. */
  known(): void {
    this.bundle?.learnt();
  }

  /** The main connection is gone, or the leg has ended. Frames that are not acknowledged are to be added again. */
  end(): void {
    const { bundle } = this;
    this.bundle = null;
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    this.spreader.clear();
    bundle?.ended.abort();
    bundle?.learnt();
    for (const connection of bundle?.further ?? []) {
      connection.forgetPaced();
      connection.close();
    }
  }

  /** Takes the next frame. */
  add(frame: Uint8Array, sequence: number): void {
    this.spreader.add(frame, sequence);
  }

  /** So many frames have arrived on the main connection. */
  arrived(frames: number): void {
    if (this.bundle) this.arrivedOn(this.bundle.main, frames);
  }

  /** All frames up to this one are in the peer's store. */
  acknowledged(sequence: number): void {
    this.spreader.acknowledged(sequence);
    this.options.onDelivered(this.spreader.deliveredSequence);
  }

  /** How soon a loss is noticed has changed. */
  watchAgain(): void {
    for (const connection of this.bundle?.further ?? []) this.options.watch(connection);
  }

  private arrivedOn(lane: Lane, frames: number): void {
    const { peer, onDelivered, onFailed } = this.options;
    if (this.spreader.arrived(lane, frames)) onDelivered(this.spreader.deliveredSequence);
    else onFailed(protocolError(peer, "frames have arrived that were never sent"));
  }

  /** Keeps one further connection while there is a main one. Never rejects. */
  private async keep(stream: number, bundle: Bundle): Promise<void> {
    const { signal } = bundle.ended;
    for (let waitMs = firstRetryMs; !signal.aborted; waitMs = Math.min(2 * waitMs, lastRetryMs)) {
      try {
        const connection = await this.options.dial();
        if (this.options.pacer) connection.paceWith(this.options.pacer);
        this.count(connection);
        const lost = await this.join(connection, stream, bundle);
        waitMs = firstRetryMs;
        this.warn(`${messageOf(lost)}; what was on its way there goes over the other connections`, signal);
      } catch (error) {
        this.warn(`The leg goes on without connection ${stream + 1} for now: ${messageOf(error)}`, signal);
        // A peer that is not the one, or does not trust this site: time heals neither.
        if (error instanceof OperationError && error.reason === "refused") return;
      }
      await sleep(waitMs * (0.5 + Math.random()), undefined, { signal }).catch(() => {});
    }
  }

  /** Resolves with its loss, after it took part. Throws OperationError when it cannot. */
  private async join(connection: PeerConnection, stream: number, bundle: Bundle): Promise<OperationError> {
    const { legId, vm, watch } = this.options;
    const { further, ended, known } = bundle;
    further.add(connection);
    try {
      watch(connection);
      await known;
      if (ended.signal.aborted) throw new OperationError("failed", "the leg's link was lost");
      connection.send({ type: "join", leg: legId, vm, stream });
      await connection.expect("joined", joinedTimeoutMs);
      return await this.carry(connection, bundle);
    } finally {
      further.delete(connection);
      connection.close();
    }
  }

  private async carry(connection: PeerConnection, bundle: Bundle): Promise<OperationError> {
    const lane = this.spreader.open((frame) => connection.sendFrame(frame));
    const receive = (incoming: Incoming) => {
      if (bundle !== this.bundle) return;
      if ("message" in incoming && incoming.message.type === "arrived") {
        this.arrivedOn(lane, incoming.message.frames);
      } else {
        // Whatever it is, the main connection says so too if it concerns the leg.
        connection.fail("it carries what only the main connection may");
      }
    };
    connection.receiveWith(receive);
    return await new Promise((resolve) => {
      connection.onLost((error) => {
        if (bundle === this.bundle) this.lostBytes += this.spreader.close(lane);
        resolve(error);
      });
    });
  }

  private count(connection: PeerConnection): void {
    this.open.add(connection);
    connection.onLost(() => {
      this.open.delete(connection);
      this.pastBytes += connection.wireBytes;
    });
  }

  /** The same again is no news. */
  private warn(message: string, signal: AbortSignal): void {
    if (signal.aborted || message === this.lastWarning) return;
    this.lastWarning = message;
    this.options.warn(message);
  }
}
