/**
 * The VM's disks in a leg, at the source: rounds as RAM has them. A round reads what bitmaps have marked before it;
 * meanwhile others record. The last round is read while the VM stands still, and then no bitmap is exported any more.
 *
 *     bitmap ─► NBD ─► digest ─► equal to what the peer has? ─► delta, whole or zero record ─► frame
 */

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import { BlockEncoder } from "../../src/delta/block-encoder.ts";
import type { PayloadCompressor } from "../../src/delta/frame.ts";
import type { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { noRecords, pageBytes, type RecordCounts, recordKindNames } from "../../src/delta/vocabulary.ts";
import type { DiskTop } from "../../src/generation/digest-tree.ts";
import type { ManifestDisk } from "../../src/generation/manifest.ts";
import {
  bitmapsOf,
  blockNodes,
  distrust,
  RoundBitmaps,
  type RoundStart,
  sinceBitmapName,
} from "../disk/dirty-bitmaps.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import { OperationError } from "../errors.ts";
import type { NbdClient } from "../nbd/client.ts";
import { extents } from "../nbd/extents.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { syncDirectory } from "../store/atomic-file.ts";
import type { VmStore } from "../store/vm-store.ts";
import type { CommonBase } from "./common-base.ts";
import { bitmapContext, DiskExports, depthContext } from "./disk-exports.ts";
import { DiskReader } from "./disk-reader.ts";
import { type DiskViews, openDiskViews } from "./disk-views.ts";

/** NBD: the range reads as zero. */
const zeroFlag = 2;
/** QEMU: the range is marked. */
const dirtyFlag = 1;
/** QEMU: the image that the VM writes to has the range itself. */
const topDepth = 1;

/** A disk of the running VM. */
export interface LegDisk {
  readonly name: string;
  readonly lengthBytes: number;
  /** QEMU's node that the device stands on. */
  readonly node: string;
  /** What the VM writes to. */
  readonly image: ImageDescriptor;
  readonly granularityBytes: number;
}

/** What the rounds work with. */
export interface SourceDisksOptions {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly qmp: QmpClient;
  readonly store: VmStore;
  readonly legId: string;
  readonly disks: readonly LegDisk[];
  readonly base: CommonBase;
  /** Index of the first disk among the regions of frames. */
  readonly firstRegion: number;
  readonly socketPath: string;
  readonly sequence: FrameSequence;
  readonly sink: (frame: Uint8Array, sequence: number, kinds: Uint8Array) => void;
  /** Resolves when more may be sent. */
  readonly room: () => Promise<void>;
  /** What compresses the next frame, as for `PageEncoder`; without it the core's LZ4. */
  readonly choose?: () => PayloadCompressor | null;
  readonly warn: (message: string) => void;
}

interface OpenDisk extends LegDisk {
  readonly views: DiskViews;
  readonly encoder: BlockEncoder;
}

/** The rounds of one leg. Release it whatever happens. */
export class SourceDisks {
  private readonly options: SourceDisksOptions;
  private readonly disks: readonly OpenDisk[];
  private readonly exports: DiskExports;
  private readonly bitmaps: RoundBitmaps;
  private readonly reader: DiskReader;
  private round = 0;
  private readBytes = 0;
  /** Bytes of the disks before the place where the first round reads. */
  private position = 0;
  private roundBytes = 0;
  private active: Promise<void> | null = null;
  private isSealed = false;
  private isReleased = false;

  private constructor(
    options: SourceDisksOptions,
    disks: readonly OpenDisk[],
    starts: readonly RoundStart[],
  ) {
    this.options = options;
    this.disks = disks;
    this.bitmaps = new RoundBitmaps(options.qmp, starts);
    this.exports = new DiskExports(options.qmp, options.socketPath);
    this.reader = new DiskReader(options.core, options.room);
  }

  /** Opens everything and begins to record. Throws OperationError. */
  static async begin(options: SourceDisksOptions): Promise<SourceDisks> {
    const { core, key, qmp, store, legId, base, sequence, sink, firstRegion } = options;
    const nodes = await blockNodes(qmp);
    const opened: OpenDisk[] = [];
    const starts: RoundStart[] = [];
    let disks: SourceDisks | null = null;
    try {
      for (const [i, disk] of options.disks.entries()) {
        const views = await openDiskViews(core, key, store, legId, disk.image, base);
        const mode = views.content ? "content" : base.mode === "nothing" ? "zero" : "unknown";
        const encoder = new BlockEncoder(core, {
          region: firstRegion + i,
          own: views.own,
          peer: views.peer,
          base: views.content
            ? { mode: "content", reader: views.content }
            : { mode: mode as "zero" | "unknown" },
          sequence,
          sink: (frame, kinds) => sink(frame, sequence.next - 1, kinds),
          choose: options.choose,
        });
        opened.push({ ...disk, views, encoder });
        const { backing } = disk.image;
        const name = backing && sinceBitmapName(backing);
        const found = bitmapsOf(nodes, disk.node).find((bitmap) => bitmap.name === name);
        const why = backing === null ? null : distrust(found);
        if (why !== null) {
          options.warn(
            `Disk ${disk.name}: the bitmap of what changed cannot be trusted (${why}); everything in its image is compared`,
          );
        }
        const since = why === null ? (found ?? null) : null;
        starts.push({ node: disk.node, since, granularityBytes: disk.granularityBytes });
      }
      disks = new SourceDisks(options, opened, starts);
      await disks.exports.start();
      await disks.bitmaps.begin();
      return disks;
    } catch (error) {
      if (disks === null) await closeAll(opened);
      else await disks.release();
      throw error;
    }
  }

  /** True while nothing is being read. */
  get isIdle(): boolean {
    return this.active === null;
  }

  /** True once the first round was read. */
  get isBulkDone(): boolean {
    return this.round > 1 || (this.round === 1 && this.active === null);
  }

  /** How far the first round is, 0 to 1, by the place on the disks: what they hold is not known before. */
  get bulkShare(): number {
    if (this.isBulkDone) return 1;
    const total = this.disks.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    return Math.min(1, this.position / total);
  }

  /** Rounds begun. */
  get rounds(): number {
    return this.round;
  }

  /** Bytes of the current round that were not read so far. */
  get unreadBytes(): number {
    return this.active === null ? 0 : Math.max(0, this.roundBytes - this.readBytes);
  }

  /** Bytes marked since the current round began; they need another one. */
  dirtyBytes(): Promise<number> {
    return this.bitmaps.dirtyBytes();
  }

  /** Bytes of blocks sent, bytes of their frames, and their records. */
  get totals(): { changedBytes: number; frameBytes: number; counts: RecordCounts } {
    const counts = noRecords();
    let changedBytes = 0;
    let frameBytes = 0;
    for (const { encoder } of this.disks) {
      changedBytes += encoder.changedBytes;
      frameBytes += encoder.frameBytes;
      for (const name of recordKindNames) counts[name] += encoder.counts[name];
    }
    return { changedBytes, frameBytes, counts };
  }

  /** Begins a round in the background; `onFailed` is called if it fails. */
  startRound(onFailed: (error: unknown) => void): void {
    const round = this.runRound(false).finally(() => {
      this.active = null;
    });
    this.active = round;
    round.catch(onFailed);
  }

  /** The VM stands still: reads the rest, and takes every export and bitmap of the leg back. */
  async finish(): Promise<void> {
    await this.active;
    if (this.round === 0) await this.runRound(false);
    await this.runRound(true);
    await this.exports.stop();
    await this.bitmaps.remove();
    for (const { views } of this.disks) views.own.refresh();
  }

  /** What the root covers of the disks. */
  tops(): DiskTop[] {
    return this.disks.map(({ name, lengthBytes, views }) => ({ name, lengthBytes, top: views.own.top() }));
  }

  /** Makes the digests durable: from now on the images count as complete, and nothing may be written to them. */
  async seal(): Promise<ManifestDisk[]> {
    const { images } = this.options.store;
    const sealed: ManifestDisk[] = [];
    for (const { name, lengthBytes, image, views } of this.disks) {
      views.own.flush();
      await views.ownFile.sync();
      const digests = `${image.id}.digests`;
      await rename(views.ownFile.path, join(images.path, digests));
      await syncDirectory(images.path);
      await images.write({ ...image, digests });
      sealed.push({ name, lengthBytes, image: image.id });
    }
    this.isSealed = true;
    return sealed;
  }

  /** Ends everything that goes on in QEMU and closes what is open. Never throws: the VM may be gone. */
  async release(): Promise<void> {
    if (this.isReleased) return;
    this.isReleased = true;
    const { qmp, warn } = this.options;
    const stopped = this.exports.stop();
    await this.active?.catch(() => {});
    await stopped.catch((error) => (qmp.isClosed ? undefined : warn(String(error))));
    if (!qmp.isClosed) await this.bitmaps.remove().catch((error) => warn(String(error)));
    await this.reader.release();
    await closeAll(this.disks, this.isSealed);
  }

  private async runRound(isLast: boolean): Promise<void> {
    this.round++;
    this.readBytes = 0;
    if (this.round > 1) {
      // Counted twice for a moment rather than not at all: nobody may think that nothing is left.
      this.roundBytes = await this.bitmaps.dirtyBytes();
      await this.bitmaps.rotate(isLast);
    }
    const nodes = await blockNodes(this.options.qmp);
    for (const disk of this.disks) requireSameLength(disk, nodes.get(disk.node)?.image["virtual-size"]);
    const marked = this.disks.map(({ node }) => {
      const bitmap = this.bitmaps.readable(node);
      return bitmapsOf(nodes, node).find(({ name }) => name === bitmap)?.count ?? 0;
    });
    this.roundBytes = marked.reduce((total, bytes) => total + bytes, 0);
    for (const [i, disk] of this.disks.entries()) {
      // Nothing marked: no export is needed, which saves time while the VM stands still.
      if (this.round === 1 || marked[i] > 0) await this.readDisk(disk);
    }
  }

  private async readDisk(disk: OpenDisk): Promise<void> {
    const { node, encoder } = disk;
    const isFirst = this.round === 1;
    const bitmap = this.bitmaps.readable(node);
    const allocationDepth = isFirst && bitmap === null && disk.image.backing !== null;
    const client = await this.exports.add({ node, bitmap, allocationDepth });
    const context =
      bitmap !== null ? bitmapContext(bitmap) : allocationDepth ? depthContext : "base:allocation";
    const start = this.position;
    for await (const { offset, lengthBytes, flags } of extents(client, context)) {
      if (isFirst) this.position = start + offset;
      if (isWanted(context, flags)) await this.read(client, disk, offset, lengthBytes);
    }
    if (isFirst) {
      for (const { block, count } of disk.views.elsewhere()) {
        const offset = block * pageBytes;
        await this.read(client, disk, offset, Math.min(count * pageBytes, client.sizeBytes - offset));
      }
    }
    await this.reader.drain();
    encoder.flush();
    if (isFirst) this.position = start + disk.lengthBytes;
    await this.exports.remove(node);
  }

  private async read(client: NbdClient, disk: OpenDisk, offset: number, lengthBytes: number): Promise<void> {
    await this.reader.read(client, disk.encoder, offset, lengthBytes);
    this.readBytes += lengthBytes;
  }
}

/** Closes what is open of disks; digests that were not sealed mean nothing and go. */
async function closeAll(disks: readonly OpenDisk[], areSealed = false): Promise<void> {
  for (const { views, encoder } of disks) {
    encoder.release();
    views.close();
    if (!areSealed) await rm(views.ownFile.path, { force: true });
  }
}

/** The peer has made its image before: one that is resized while the leg goes on cannot be handed over. */
function requireSameLength({ name, lengthBytes }: LegDisk, now: number | undefined): void {
  if (now === undefined || now === lengthBytes) return;
  throw new OperationError(
    "aborted",
    `Cannot use disk ${name}: it was resized from ${lengthBytes} to ${now} bytes during the leg; a disk that moves keeps its size`,
  );
}

function isWanted(context: string, flags: number): boolean {
  if (context === "base:allocation") return (flags & zeroFlag) === 0;
  if (context === depthContext) return flags === topDepth;
  return (flags & dirtyFlag) !== 0;
}
