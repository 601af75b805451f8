/**
 * The source's data path: QEMU's stream in, frames out, to the peer and to this site's own copy.
 *
 *     chunk ─► window in the core ─► stream decoder ─► change encoder ─► frame ─┬─► WAN
 *                                                                              └─► own generation
 *
 * Pages that the guest has never written to are told apart without a look at them (unwritten-pages.ts).
 */

import { performance } from "node:perf_hooks";
import type { Core } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions, sameGeometry } from "../../src/generation/geometry.ts";
import { type RamBlock, streamCommands } from "../../src/qemu-stream/vocabulary.ts";
import { OperationError } from "../errors.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { SafeHold } from "../qemu/safe-hold.ts";
import { GenerationContent } from "../store/generation-reader.ts";
import { beginGeneration, type GenerationWriter } from "../store/generation-writer.ts";
import { DeliveryRate } from "../wan/delivery-rate.ts";
import { BaseWindow } from "./base-window.ts";
import { CodecChoice } from "./codec-choice.ts";
import { baseIdOf, type CommonBase, ownBaseOf } from "./common-base.ts";
import { EncodeRoute } from "./encode-route.ts";
import { LinkLoad } from "./link-load.ts";
import type { PumpOptions, StreamEnd } from "./pump-options.ts";
import { arrangeBlocks } from "./stream-regions.ts";
import { StreamWindow } from "./stream-window.ts";
import { type UnwrittenPages, unwrittenPages } from "./unwritten-pages.ts";

/** Everything that exists once the stream has named the RAM blocks. */
interface Established {
  readonly geometry: Geometry;
  readonly digests: PageDigests;
  readonly encoder: ChangeEncoder;
  readonly route: EncodeRoute;
  readonly writer: GenerationWriter;
  readonly content: GenerationContent | null;
  readonly unwritten: UnwrittenPages | null;
}

/** Pumps one leg. */
export class SourcePump {
  readonly rate = new DeliveryRate();
  private readonly load = new LinkLoad();
  /** What compresses the frames of RAM and disks. */
  readonly codec: CodecChoice;
  /** Machine type as the stream names it. */
  machine = "";
  /** Numbers of the leg's frames. */
  readonly sequence = new FrameSequence(2);
  /** Resolves when the stream has named the RAM blocks and the peer was told. */
  readonly established: Promise<void>;
  /** Resolves when the whole stream was read and its last frame sent. */
  readonly ended: Promise<StreamEnd>;
  /** With `holdsDevice`: resolves with the device state when the whole stream was read. */
  readonly read: Promise<Uint8Array>;
  private readonly options: PumpOptions;
  private readonly window: StreamWindow;
  private resolveEstablished: () => void = () => {};
  private resolveEnded: (end: StreamEnd) => void = () => {};
  private resolveRead: (tail: Uint8Array) => void = () => {};
  private base: CommonBase;
  private outgoing: OutgoingMigration | null = null;
  private hold: SafeHold | null = null;
  private earlyPings: number[] = [];
  private open: Established | null = null;
  private regionOfBlock: number[] = [];
  /** Region and page that the stream had last. */
  private lastRegion = 0;
  private lastPage = -1;
  private mustDrain = false;
  private isLinkUp = true;
  private isRamHeld: boolean;
  private isQueueDraining = false;
  private waiting: (() => void)[] = [];

  constructor(options: PumpOptions) {
    this.options = options;
    this.base = options.base;
    this.isRamHeld = options.hasDisks;
    this.codec = new CodecChoice(options.core, {
      bytesPerSecond: () => this.rate.bytesPerSecond,
      isBusy: () => this.load.isBusy,
      threads: () => this.open?.route.threads ?? 0,
    });
    this.established = new Promise((resolve) => {
      this.resolveEstablished = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.read = new Promise((resolve) => {
      this.resolveRead = resolve;
    });
    this.window = new StreamWindow(options.core, {
      machine: (name) => {
        this.machine = name;
      },
      command: (command, data) => {
        if (command === streamCommands.ping)
          this.answerPing(new DataView(data.buffer, data.byteOffset).getUint32(0));
      },
      ramBlocks: (blocks) => this.establish(blocks),
      page: (block, page, bytes, at) => {
        this.reached(block, page);
        const { route, encoder, unwritten } = this.parts();
        if (this.lastRegion === 0 && unwritten?.isBase(page)) encoder.samePage(0, page);
        else route.page(this.lastRegion, page, bytes.byteOffset + at);
      },
      zeroPage: (block, page) => {
        this.reached(block, page);
        this.parts().route.zeroPage(this.lastRegion, page);
      },
      deviceState: (tail) => {
        const state = tail.slice();
        if (options.holdsDevice) this.resolveRead(state);
        else this.sendDevice(state);
      },
    });
  }

  get core(): Core {
    return this.options.core;
  }

  /** What the stream's RAM is compared with in the end. */
  get usedBase(): CommonBase {
    return this.base;
  }

  get geometry(): Geometry {
    return this.parts().geometry;
  }

  get digests(): PageDigests {
    return this.parts().digests;
  }

  get encoder(): ChangeEncoder {
    return this.parts().encoder;
  }

  get writer(): GenerationWriter {
    return this.parts().writer;
  }

  /** Pages that were not compared with the base, since the guest has never written to them. */
  get unwrittenPages(): number {
    return this.open?.unwritten?.count ?? 0;
  }

  /** Bytes of QEMU's stream so far. */
  get receivedBytes(): number {
    return this.window.receivedBytes;
  }

  /** Bytes of pages that QEMU has sent and that are not in a frame so far. */
  get encodingBytes(): number {
    return this.open?.route.pendingBytes ?? 0;
  }

  /** True once the stream has named the RAM blocks. */
  get isEstablished(): boolean {
    return this.open !== null;
  }

  /** The page that the stream had last, over the page space; -1 before the first one. */
  get position(): number {
    return this.lastPage < 0 ? -1 : this.geometry.regions[this.lastRegion].firstPage + this.lastPage;
  }

  /** Binds the migration whose reading is held when the backlog is too long. */
  attach(outgoing: OutgoingMigration, hold: SafeHold): void {
    this.outgoing = outgoing;
    this.hold = hold;
    for (const value of this.earlyPings.splice(0)) outgoing.answerPong(value);
  }

  /**
   * QEMU's migration was given up in the middle of the leg, and another one will send all memory again: what the peer
   * has by then is left out. The new migration is to be attached.
   */
  restartStream(): void {
    this.isQueueDraining = false;
    this.window.restart();
    this.outgoing = null;
    this.hold = null;
  }

  /** Takes a chunk of the stream. Throws FormatError or OperationError. */
  push(chunk: Uint8Array): void {
    this.open?.unwritten?.received();
    this.window.push(chunk);
    this.pace();
  }

  /** The peer has everything up to this frame, or as many frames. */
  acknowledged(sequence: number): void {
    this.rate.acknowledged(sequence, performance.now());
    this.pace();
  }

  /** While the link is lost nothing more is taken from QEMU. */
  linkChanged(isUp: boolean): void {
    this.isLinkUp = isUp;
    this.pace();
  }

  /** While held, QEMU's stream is not read: disks have the link for themselves, and RAM is dirtied only once. */
  holdRam(isHeld: boolean): void {
    this.isRamHeld = isHeld;
    this.pace();
  }

  /** While the queue is drained before a stop, all of the little that QEMU sends is read: it must not wait in a write. */
  drainQueue(isDraining: boolean): void {
    this.isQueueDraining = isDraining;
    this.pace();
  }

  /** Resolves when more may be sent; rejects never: a lost connection ends the leg elsewhere. */
  async room(): Promise<void> {
    while (this.isFull()) await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Takes a frame of a disk, to the peer and to this site's own copy. */
  sendDiskFrame(frame: Uint8Array, sequence: number, kinds: Uint8Array): void {
    this.parts().writer.applyDisk(frame, sequence, kinds);
    this.rate.sent(sequence, frame.length, performance.now());
    this.options.sink.sendFrame(frame, sequence);
    this.pace();
  }

  /** Sends what is waiting, so that a slow stream does not sit in a half-full frame; keeps the digests' tree current. */
  flush(): void {
    this.open?.route.flush();
    this.open?.digests.refresh();
  }

  /** From now on reads at full speed whatever the backlog: QEMU holds its main lock. */
  drain(): void {
    this.mustDrain = true;
    this.hold?.stop();
  }

  /** Gives up what was written for this site's own copy. Nothing is written afterwards. */
  async discard(): Promise<void> {
    await this.open?.route.close();
    await this.open?.writer.discard();
  }

  /** Closes what the pump holds open. The writer stays the caller's. */
  release(): void {
    this.options.mapping?.pages.close();
    this.open?.route.close().catch(() => {});
    this.open?.content?.close();
    this.open?.digests.release();
  }

  private reached(block: number, page: number): void {
    this.lastRegion = this.regionOfBlock[block];
    this.lastPage = page;
  }

  private parts(): Established {
    if (this.open === null) throw new Error("the stream has not named its RAM blocks");
    return this.open;
  }

  /** Reads on, or holds QEMU's stream, as the link and the disks allow. */
  pace(): void {
    const isFull = this.isFull();
    // While it is lost nothing is known of it.
    this.load.setFull(isFull && this.isLinkUp);
    if (!isFull) for (const resume of this.waiting.splice(0)) resume();
    if (this.hold === null || this.mustDrain) return;
    const mustHold = (isFull || this.open?.route.isFull) && !(this.isQueueDraining && this.isLinkUp);
    if (mustHold || (this.isRamHeld && this.isEstablished)) this.hold.hold();
    else this.hold.release();
  }

  private isFull(): boolean {
    return !this.isLinkUp || this.rate.unacknowledgedBytes > this.rate.windowBytes(performance.now());
  }

  private answerPing(value: number): void {
    if (this.outgoing === null) this.earlyPings.push(value);
    else this.outgoing.answerPong(value);
  }

  private establish(blocks: readonly RamBlock[]): void {
    const { core, key, target, sink, mapping } = this.options;
    const { geometry, regionOfBlock } = arrangeBlocks(blocks, this.options);
    this.regionOfBlock = regionOfBlock;
    if (this.open !== null) {
      if (sameGeometry(geometry, this.open.geometry)) return;
      throw new OperationError("failed", "Cannot go on with the leg: the VM's RAM blocks have changed");
    }
    const given = ownBaseOf(this.base);
    if (given !== null && !sameGeometry(geometry, placeRegions(given.manifest.regions))) {
      this.options.onBaseDropped("the VM's RAM blocks differ from those of the common generation");
      this.base = { mode: "nothing" };
    }
    const { base } = this;
    const own = ownBaseOf(base);
    const content = base.mode === "content" && own ? new GenerationContent(core, own) : null;
    const unwritten = mapping && content && own ? unwrittenPages(mapping, own.manifest, content) : null;
    const digests = new PageDigests(
      core,
      key,
      geometry,
      base.mode === "nothing" ? undefined : base.digests.slice(),
    );
    const writer = beginGeneration(core, target.generationsPath, target, geometry, own);
    const common: Common =
      base.mode === "content"
        ? { mode: "content", reader: new BaseWindow(core, content), digests: base.digests }
        : base.mode === "digests"
          ? { mode: "digests", own: base.ownDigests }
          : { mode: "nothing" };
    const { sequence, codec } = this;
    const send = (frame: Uint8Array, number: number) => {
      if (!sink.isAside) this.rate.sent(number, frame.length, performance.now());
      sink.sendFrame(frame, number);
    };
    const onFrame = (frame: Uint8Array, said: DecodedPages) => {
      writer.apply(said, frame);
      send(frame, said.sequence);
    };
    const encoder = new ChangeEncoder(core, digests, common, onFrame, sequence, codec.choose);
    const route = new EncodeRoute({
      core,
      encoder,
      digests,
      sequence,
      key,
      mode: common.mode,
      threads: this.options.threads,
      isLinkBusy: () => this.load.isBusy,
      imagePath: writer.imagePath,
      plan: () => codec.plan(),
      learn: codec.learn,
      onFrame: (frame, said) => {
        writer.applyWritten(said, frame);
        send(frame, said.sequence);
      },
      onRoom: () => this.pace(),
    });
    this.open = { geometry, digests, encoder, route, writer, content, unwritten };
    digests.refresh();
    sink.send({
      type: "begin",
      generation: target.generation,
      base: baseIdOf(base),
      machine: this.machine,
      regions: geometry.regions.map(({ name, kind, lengthBytes }) => ({ name, kind, lengthBytes })),
    });
    this.resolveEstablished();
  }

  /** Sends the device state as soon as the frames of all pages are made: no page and no block may come after it. */
  sendDevice(state: Uint8Array): void {
    this.parts().route.whenDone(() => this.finishStream(state));
  }

  private finishStream(tail: Uint8Array): void {
    const { core, key, sink } = this.options;
    const { base } = this;
    const first = this.sequence.next;
    // The peer is told what differs from the base; what is kept here stands by itself. A seed has none.
    const frames = tail.length === 0 ? [] : encodeDeviceFrames(core, tail, first);
    const known = base.mode === "content" && tail.length > 0 ? base.device : undefined;
    const sent = known ? encodeDeviceFrames(core, tail, first, known) : frames;
    let sequence = first - 1;
    let wireBytes = 0;
    for (const frame of sent) {
      wireBytes += frame.length;
      sequence = this.sequence.take();
      this.rate.sent(sequence, frame.length, performance.now());
      sink.sendFrame(frame, sequence);
    }
    this.resolveEnded({ frames, bytes: tail.length, wireBytes, digest: core.blake3(tail, key), sequence });
  }
}
