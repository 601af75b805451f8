/**
 * The source's data path: QEMU's stream in, frames out, to the peer and to this site's own copy.
 *
 *     chunk ─► window in the core ─► stream decoder ─► change encoder ─► frame ─┬─► WAN
 *                                                                              └─► own generation
 */

import { performance } from "node:perf_hooks";
import type { Core } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions, type Region, sameGeometry } from "../../src/generation/geometry.ts";
import { type RamBlock, streamCommands } from "../../src/qemu-stream/vocabulary.ts";
import { OperationError } from "../errors.ts";
import type { OutgoingMigration } from "../qemu/outgoing-migration.ts";
import type { SafeHold } from "../qemu/safe-hold.ts";
import { GenerationContent } from "../store/generation-reader.ts";
import { beginGeneration, type GenerationWriter } from "../store/generation-writer.ts";
import { DeliveryRate } from "../wan/delivery-rate.ts";
import { BaseWindow } from "./base-window.ts";
import { baseIdOf, type CommonBase, ownBaseOf } from "./common-base.ts";
import type { LegSink } from "./leg-sink.ts";
import { StreamWindow } from "./stream-window.ts";

/** What the pump works with. */
export interface PumpOptions {
  readonly core: Core;
  readonly sink: LegSink;
  readonly key: Uint8Array;
  readonly base: CommonBase;
  readonly ramBlock: string;
  readonly memoryBytes: number;
  readonly target: {
    readonly generationsPath: string;
    readonly vm: string;
    readonly generation: number;
    readonly legId: string;
  };
  /** True if the VM has disks that move: QEMU's stream then waits for `holdRam(false)` after its beginning. */
  readonly hasDisks: boolean;
  /** Called once when it turns out that the base does not fit the VM any more. */
  readonly onBaseDropped: (reason: string) => void;
}

/** The device state at the end of the stream. */
export interface StreamEnd {
  readonly frames: readonly Uint8Array[];
  readonly bytes: number;
  /** Keyed BLAKE3-256 of the device state. */
  readonly digest: Uint8Array;
  /** Number of the last frame. */
  readonly sequence: number;
}

/** Everything that exists once the stream has named the RAM blocks. */
interface Established {
  readonly geometry: Geometry;
  readonly digests: PageDigests;
  readonly encoder: ChangeEncoder;
  readonly writer: GenerationWriter;
  readonly content: GenerationContent | null;
}

/** Pumps one leg. */
export class SourcePump {
  readonly rate = new DeliveryRate();
  /** Machine type as the stream names it. */
  machine = "";
  /** Numbers of the leg's frames. */
  readonly sequence = new FrameSequence(2);
  /** Resolves when the stream has named the RAM blocks and the peer was told. */
  readonly established: Promise<void>;
  /** Resolves when the whole stream was read and its last frame sent. */
  readonly ended: Promise<StreamEnd>;
  private readonly options: PumpOptions;
  private readonly window: StreamWindow;
  private resolveEstablished: () => void = () => {};
  private resolveEnded: (end: StreamEnd) => void = () => {};
  private base: CommonBase;
  private outgoing: OutgoingMigration | null = null;
  private hold: SafeHold | null = null;
  private earlyPings: number[] = [];
  private open: Established | null = null;
  private regionOfBlock: number[] = [];
  private mustDrain = false;
  private isLinkUp = true;
  private isRamHeld: boolean;
  private waiting: (() => void)[] = [];

  constructor(options: PumpOptions) {
    this.options = options;
    this.base = options.base;
    this.isRamHeld = options.hasDisks;
    this.established = new Promise((resolve) => {
      this.resolveEstablished = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
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
        this.parts().encoder.page(this.regionOfBlock[block], page, bytes.byteOffset + at);
      },
      zeroPage: (block, page) => this.parts().encoder.zeroPage(this.regionOfBlock[block], page),
      deviceState: (tail) => this.finishStream(tail),
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

  /** Bytes of QEMU's stream so far. */
  get receivedBytes(): number {
    return this.window.receivedBytes;
  }

  /** True once the stream has named the RAM blocks. */
  get isEstablished(): boolean {
    return this.open !== null;
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
    this.window.restart();
    this.outgoing = null;
    this.hold = null;
  }

  /** Takes a chunk of the stream. Throws FormatError or OperationError. */
  push(chunk: Uint8Array): void {
    this.window.push(chunk);
    this.pace();
  }

  /** The peer has everything up to this frame. */
  acknowledged(sequence: number): void {
    this.rate.acknowledged(sequence, performance.now());
    if (!this.isFull()) for (const resume of this.waiting.splice(0)) resume();
    this.pace();
  }

  /** While the link is lost nothing more is taken from QEMU. */
  linkChanged(isUp: boolean): void {
    this.isLinkUp = isUp;
    if (!this.isFull()) for (const resume of this.waiting.splice(0)) resume();
    this.pace();
  }

  /** While held, QEMU's stream is not read: disks have the link for themselves, and RAM is dirtied only once. */
  holdRam(isHeld: boolean): void {
    this.isRamHeld = isHeld;
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
  }

  /** Sends what is waiting, so that a slow stream does not sit in a half-full frame; keeps the digests' tree current. */
  flush(): void {
    this.open?.encoder.flush();
    this.open?.digests.refresh();
  }

  /** From now on reads at full speed whatever the backlog: QEMU holds its main lock. */
  drain(): void {
    this.mustDrain = true;
    this.hold?.stop();
  }

  /** Closes what the pump holds open. The writer stays the caller's. */
  release(): void {
    this.open?.content?.close();
    this.open?.digests.release();
  }

  private parts(): Established {
    if (this.open === null) throw new Error("the stream has not named its RAM blocks");
    return this.open;
  }

  /** Reads on, or holds QEMU's stream, as the link and the disks allow. */
  pace(): void {
    if (this.hold === null || this.mustDrain) return;
    if (this.isFull() || (this.isRamHeld && this.isEstablished)) this.hold.hold();
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
    const { core, key, target, sink } = this.options;
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
    const digests = new PageDigests(
      core,
      key,
      geometry,
      base.mode === "nothing" ? undefined : base.digests.slice(),
    );
    const writer = beginGeneration(core, target.generationsPath, target, geometry, own);
    const decoder = new PageDecoder(core, geometry.regions, new BaseWindow(core, content));
    const common: Common =
      base.mode === "content"
        ? { mode: "content", reader: new BaseWindow(core, content), digests: base.digests }
        : base.mode === "digests"
          ? { mode: "digests", own: base.ownDigests }
          : { mode: "nothing" };
    const send = (frame: Uint8Array) => {
      const decoded = decoder.decode(frame);
      writer.apply(decoded, frame);
      this.rate.sent(decoded.sequence, frame.length, performance.now());
      sink.sendFrame(frame, decoded.sequence);
    };
    const encoder = new ChangeEncoder(core, digests, common, send, this.sequence);
    this.open = { geometry, digests, encoder, writer, content };
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

  private finishStream(tail: Uint8Array): void {
    const { core, key, sink } = this.options;
    const { encoder } = this.parts();
    encoder.flush();
    const frames = encodeDeviceFrames(core, tail, this.sequence.next);
    let sequence = this.sequence.next - 1;
    for (const frame of frames) {
      sequence = this.sequence.take();
      this.rate.sent(sequence, frame.length, performance.now());
      sink.sendFrame(frame, sequence);
    }
    this.resolveEnded({ frames, bytes: tail.length, digest: core.blake3(tail, key), sequence });
  }
}

/** The stream's blocks as regions, the main RAM first, and the region of each block. */
function arrangeBlocks(
  blocks: readonly RamBlock[],
  vm: { readonly ramBlock: string; readonly memoryBytes: number },
): { geometry: Geometry; regionOfBlock: number[] } {
  const main = blocks.find(({ id }) => id === vm.ramBlock);
  if (main === undefined || main.lengthBytes !== vm.memoryBytes) {
    throw new OperationError(
      "failed",
      `Cannot migrate: QEMU has no RAM block ${vm.ramBlock} of ${vm.memoryBytes} bytes, as the definition says; ` +
        `it has ${blocks.map(({ id, lengthBytes }) => `${id} (${lengthBytes})`).join(", ")}`,
    );
  }
  const ordered = [main, ...blocks.filter((block) => block !== main)];
  const regions: Region[] = ordered.map(({ id, lengthBytes }) => ({ name: id, kind: "ram", lengthBytes }));
  return { geometry: placeRegions(regions), regionOfBlock: blocks.map((block) => ordered.indexOf(block)) };
}
