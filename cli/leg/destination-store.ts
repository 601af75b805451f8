/** The destination's side of the data path: frames in, image and delta out, pages to the waiting QEMU. */

import type { Core } from "../../src/core.ts";
import { DeviceAssembler, encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { decodeFrameHeader } from "../../src/delta/frame.ts";
import { type DecodedPages, PageDecoder } from "../../src/delta/page-decoder.ts";
import { FrameKind, frameLimits } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { type DiskShape, frameExtents } from "../../src/generation/disks.ts";
import type { Geometry } from "../../src/generation/geometry.ts";
import { isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import type { IncomingMigration } from "../qemu/incoming-migration.ts";
import {
  GenerationContent,
  imagePathOf,
  readDeviceState,
  readDigests,
  type StoredGeneration,
} from "../store/generation-reader.ts";
import {
  beginGeneration,
  type GenerationParts,
  type GenerationWriter,
  type ManifestStart,
} from "../store/generation-writer.ts";
import { BaseWindow } from "./base-window.ts";
import type { DestinationDisks } from "./destination-disks.ts";
import { IncomingFeed } from "./incoming-feed.ts";

/** So that the root, asked for while the VM stands still, costs what the last frames changed. */
const refreshEveryFrames = 32;

/** What is needed to begin. */
export interface DestinationStoreOptions {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly geometry: Geometry;
  readonly base: StoredGeneration | null;
  readonly machine: string;
  readonly shapes: readonly DiskShape[];
  /** Null if the VM has no disks that move. */
  readonly disks: DestinationDisks | null;
  readonly target: {
    readonly generationsPath: string;
    readonly vm: string;
    readonly generation: number;
    readonly legId: string;
  };
}

/** Applies the frames of one leg. */
export class DestinationStore {
  /** The file that QEMU maps. */
  readonly imagePath: string;
  readonly writer: GenerationWriter;
  private readonly core: Core;
  private readonly key: Uint8Array;
  private readonly geometry: Geometry;
  private readonly machine: string;
  private readonly disks: DestinationDisks | null;
  private readonly digests: PageDigests;
  private readonly content: GenerationContent | null;
  private readonly decoder: PageDecoder;
  private readonly device: DeviceAssembler;
  /** Number of the first device frame; 0 before it. */
  private firstDeviceFrame = 0;
  private readonly newDigests: number;
  private feed: IncomingFeed | null = null;
  private sequence = 1;

  constructor(options: DestinationStoreOptions, had: { digests?: Uint8Array; device: Uint8Array | null }) {
    const { core, key, geometry, base, target } = options;
    this.core = core;
    this.key = key;
    this.geometry = geometry;
    this.machine = options.machine;
    this.content = base ? new GenerationContent(core, base) : null;
    this.digests = new PageDigests(core, key, geometry, had.digests);
    this.disks = options.disks;
    const extents = frameExtents(geometry, options.shapes);
    const ram = new BaseWindow(core, this.content);
    this.decoder = new PageDecoder(core, extents, {
      readBasePage: (page, target) => {
        if (page < geometry.totalPages) ram.readBasePage(page, target);
        else {
          const region = extents.findLastIndex(({ firstPage }) => firstPage <= page);
          const disk = region - geometry.regions.length;
          this.disks?.readBase(disk, page - extents[region].firstPage, target);
        }
      },
    });
    this.device = new DeviceAssembler(core, had.device);
    this.newDigests = core.allocate(frameLimits.records * digestBytes);
    this.writer = beginGeneration(core, target.generationsPath, target, geometry, base);
    this.imagePath = base ? imagePathOf(base) : this.writer.imagePath;
    this.digests.refresh();
  }

  /** Binds the QEMU that will run the VM, and gives it what its mapped image does not have. */
  async attach(incoming: Promise<IncomingMigration>): Promise<void> {
    this.feed = new IncomingFeed(this.core, this.geometry, incoming, {
      machine: this.machine,
      mapsFirstRegion: this.content === null,
    });
    await this.feed.feedSmallRegions(this.content);
    if (this.content) await this.feed.feedPagesAboveImage(this.content);
  }

  /** Number of the last frame that is in the store. */
  get lastSequence(): number {
    return this.sequence;
  }

  /** Takes the next frame. When the promise resolves it is in the store. Returns its number. */
  async apply(frame: Uint8Array): Promise<number> {
    const header = decodeFrameHeader(frame);
    if (header.sequence !== this.sequence + 1) {
      throw new OperationError(
        "failed",
        `Cannot accept frame ${header.sequence}: ${this.sequence + 1} is next`,
      );
    }
    if (header.kind === FrameKind.device) {
      this.device.add(frame);
      this.firstDeviceFrame ||= header.sequence;
    } else {
      if (this.firstDeviceFrame > 0) {
        throw new OperationError(
          "failed",
          `Cannot accept frame ${header.sequence}: pages after the device state`,
        );
      }
      const decoded = this.decoder.decode(frame);
      const disk = decoded.region - this.geometry.regions.length;
      if (disk < 0) await this.applyPages(decoded, frame);
      else {
        await this.disks?.apply(disk, decoded);
        this.writer.applyDisk(frame, decoded.sequence, decoded.kinds.subarray(0, decoded.count));
      }
      if (decoded.sequence % refreshEveryFrames === 0) {
        this.digests.refresh();
        this.disks?.refresh();
      }
    }
    this.sequence = header.sequence;
    return header.sequence;
  }

  /**
   * Everything has come: QEMU gets the device state, files are synced. Resolves with the root of what is
   * here; the generation is complete but not in force. `loaded` resolves when QEMU has loaded it; null: there is no QEMU.
   */
  async finish(lastSequence: number, start: ManifestStart, loaded: Promise<void> | null): Promise<Manifest> {
    if (lastSequence !== this.sequence) {
      throw new OperationError(
        "failed",
        `Cannot finish: frame ${lastSequence} was announced, ${this.sequence} came`,
      );
    }
    const state = this.device.take();
    if ((state.length === 0) !== (start.seed === true)) {
      throw new OperationError("failed", `Cannot finish: ${start.seed ? "a" : "no"} device state came`);
    }
    // It may have come as what differs from the base: the store's frames stand by themselves.
    const frames = start.seed ? [] : encodeDeviceFrames(this.core, state, this.firstDeviceFrame);
    const digest = this.core.blake3(state, this.key);
    const root = this.digests.root(digest, this.disks?.tops());
    // QEMU takes the images when it loads the device state: they must be free by then.
    await this.disks?.close();
    const feeding = this.feed?.finish(state).then(() => loaded);
    const device = { frames, bytes: state.length, digest };
    const writing = this.write(start, device, root);
    // Both are awaited before either failure is reported: nothing may still write when the caller cleans up.
    const [fed, written] = await Promise.allSettled([feeding, writing]);
    if (fed.status === "rejected") throw fed.reason;
    if (written.status === "rejected") throw written.reason;
    return written.value;
  }

  private async write(
    start: ManifestStart,
    device: GenerationParts["device"],
    root: Uint8Array,
  ): Promise<Manifest> {
    const disks = (await this.disks?.seal()) ?? [];
    return await this.writer.finish(start, { digests: this.digests.digests, device, disks, root });
  }

  /** Closes what is open here. The writer stays the caller's. */
  release(): void {
    this.content?.close();
    this.digests.release();
    this.disks?.release();
  }

  private async applyPages(decoded: DecodedPages, frame: Uint8Array): Promise<void> {
    const { count, pages, contents, region } = decoded;
    const { firstPage } = this.geometry.regions[region];
    this.core.raw.pageDigests(contents, count, this.digests.keyPointer, this.newDigests);
    const memory = this.core.bytes();
    for (let i = 0; i < count; i++) {
      this.digests.set(region, firstPage + pages[i], memory, this.newDigests + i * digestBytes);
    }
    this.writer.apply(decoded, frame);
    await this.feed?.feedDecoded(decoded);
  }
}

/** Opens the destination's side of a leg. Throws OperationError. */
export async function openDestinationStore(options: DestinationStoreOptions): Promise<DestinationStore> {
  const { core, base } = options;
  if (!base) return new DestinationStore(options, { device: null });
  const device = isSeed(base.manifest) ? null : await readDeviceState(core, base);
  return new DestinationStore(options, { digests: await readDigests(base), device });
}
