/**
 * The VM's disks in a leg, at the destination. What comes is written to a new image over the base's, which stays as
 * it is; above it lies the image that the VM will write to. Both are made by a QEMU of their own (block-host.ts) that
 * has let go of them before the VM's QEMU takes them.
 */

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { frameLimits, pageBytes, RecordKind } from "../../src/delta/vocabulary.ts";
import type { ImageChain } from "../../src/disk/index.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { type DiskTop, digestBytes } from "../../src/generation/digest-tree.ts";
import { blocksOf, type DiskShape } from "../../src/generation/disks.ts";
import type { ManifestDisk } from "../../src/generation/manifest.ts";
import type { BlockHost } from "../disk/block-host.ts";
import { chainNodes, nodeName } from "../disk/block-nodes.ts";
import { openContent, openDigestLayers } from "../disk/image-content.ts";
import { createOverlay, headerName } from "../disk/image-creation.ts";
import type { ImageDescriptor, ImageStore } from "../disk/image-store.ts";
import { OperationError } from "../errors.ts";
import { NbdClient } from "../nbd/client.ts";
import { storeError, syncDirectory } from "../store/atomic-file.ts";
import { DigestFile } from "../store/digest-file.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";

/** After so many bytes the disk is asked to take them, so that the last flush finds little to do. */
const flushEveryBytes = 32 << 20;

/** A disk that arrives. */
export interface ArrivingDisk extends DiskShape {
  readonly granularityBytes: number;
}

/** What is needed to begin. */
export interface DestinationDisksOptions {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly images: ImageStore;
  readonly legId: string;
  readonly disks: readonly ArrivingDisk[];
  readonly base: StoredGeneration | null;
  /** A running block host; it is ended here. */
  readonly host: BlockHost;
  /** True: a VM will run here and needs an image to write to. */
  readonly willRun: boolean;
}

interface OpenDisk extends DiskShape {
  /** What comes is written to it. */
  readonly received: ImageDescriptor;
  /** What the VM will write to; null if none will run. */
  readonly active: ImageDescriptor | null;
  readonly content: ImageChain | null;
  readonly digests: BlockDigests;
  readonly file: DigestFile;
  readonly layers: readonly DigestFile[];
  client: NbdClient | null;
}

/** The disks of one leg. */
export class DestinationDisks {
  private readonly options: DestinationDisksOptions;
  private readonly disks: OpenDisk[] = [];
  private readonly newDigests: number;
  private unflushedBytes = 0;
  private flushing: Promise<unknown> | null = null;
  private failure: unknown = null;

  private constructor(options: DestinationDisksOptions) {
    this.options = options;
    this.newDigests = options.core.allocate(frameLimits.records * digestBytes);
  }

  /** Makes the images and opens them for writing. Throws OperationError; nothing is left then. */
  static async begin(options: DestinationDisksOptions): Promise<DestinationDisks> {
    const disks = new DestinationDisks(options);
    try {
      for (const disk of options.disks) await disks.open(disk);
      return disks;
    } catch (error) {
      await disks.discard();
      throw error;
    }
  }

  /** Makes them writable: after that they can be taken by `apply`. */
  async connect(): Promise<void> {
    const { host, images } = this.options;
    for (const { received } of this.disks) {
      const below = received.backing === null ? [] : await images.chain(received.backing);
      await host.open(chainNodes(images, [received, ...below], { writable: true, cache: "writeback" }));
    }
    const socketPath = await host.exportWritable(this.disks.map(({ received }) => nodeName(received.id)));
    for (const disk of this.disks) {
      disk.client = await NbdClient.connect({ socketPath, exportName: nodeName(disk.received.id) });
    }
  }

  /** The images that the VM will have, newest first, for each disk; its QEMU may open them now. */
  async chains(): Promise<ImageDescriptor[][]> {
    const { images } = this.options;
    return await Promise.all(
      this.disks.map(async ({ active, received }) => [
        ...(active === null ? [] : [active]),
        received,
        ...(received.backing === null ? [] : await images.chain(received.backing)),
      ]),
    );
  }

  /** Content of a block of the base, to the core's memory. Zeroes where there is no base. */
  readBase(disk: number, block: number, target: number): void {
    const { core } = this.options;
    const { content } = this.disks[disk];
    if (content === null) core.bytes().fill(0, target, target + pageBytes);
    else content.readBlocks(core.bytes(), target, block, 1);
  }

  /** Takes a decoded frame of a disk; when the promise resolves, QEMU has taken it. */
  async apply(disk: number, decoded: DecodedPages): Promise<void> {
    if (this.failure) throw this.failure;
    const { core } = this.options;
    const { digests, client, lengthBytes } = this.disks[disk];
    const { count, pages, kinds, contents } = decoded;
    core.raw.pageDigests(contents, count, digests.keyPointer, this.newDigests);
    for (let i = 0; i < count; i++) digests.set(pages[i], core.bytes(), this.newDigests + i * digestBytes);
    if (client === null) throw new OperationError("failed", "Cannot write a disk before it is connected");
    let writes: Promise<void>[] = [];
    let end = 0;
    for (let i = 0; i < count; ) {
      // QEMU may do in any order what is under way: a block that comes again waits for what came before.
      if (pages[i] < end) writes = await settled(writes);
      const isZero = kinds[i] === RecordKind.zero;
      let run = 1;
      while (
        i + run < count &&
        pages[i + run] === pages[i] + run &&
        (kinds[i + run] === RecordKind.zero) === isZero
      )
        run++;
      const offset = pages[i] * pageBytes;
      const length = Math.min(run * pageBytes, lengthBytes - offset);
      const from = contents + i * pageBytes;
      // A copy: while it waits to be sent, others may let the core's memory grow.
      writes.push(
        isZero
          ? client.writeZeroes(offset, length)
          : client.write(offset, core.bytes().slice(from, from + length)),
      );
      end = Math.max(end, pages[i] + run);
      i += run;
    }
    await settled(writes);
    this.flushInBackground(count * pageBytes);
  }

  /** Brings the trees up to date, so that the tops cost little after the stop. */
  refresh(): void {
    for (const { digests } of this.disks) digests.refresh();
  }

  /** What the root covers of the disks. */
  tops(): DiskTop[] {
    return this.disks.map(({ name, lengthBytes, digests }) => ({ name, lengthBytes, top: digests.top() }));
  }

  /** Everything has come: makes it durable and lets go of the images, so that the VM's QEMU can take them. */
  async close(): Promise<void> {
    await this.flushing;
    if (this.failure) throw this.failure;
    this.options.host.check();
    await settled(this.disks.map(async ({ client }) => await client?.flush()));
    await Promise.all(this.disks.map(({ client }) => client?.disconnect()));
    await this.options.host.close();
  }

  /** Makes digests and descriptors durable. The images are complete then, and no generation names them so far. */
  async seal(): Promise<ManifestDisk[]> {
    const { images } = this.options;
    const sealed: ManifestDisk[] = [];
    for (const { name, lengthBytes, received, active, digests, file } of this.disks) {
      digests.flush();
      await file.sync();
      const digestsFile = `${received.id}.digests`;
      await rename(file.path, join(images.path, digestsFile));
      await syncDirectory(images.path);
      await images.write({ ...received, digests: digestsFile });
      if (active !== null) await images.write(active);
      sealed.push({ name, lengthBytes, image: received.id });
    }
    return sealed;
  }

  /** Records durably that the VM here writes to the new images. */
  async takeOver(): Promise<void> {
    const images = Object.fromEntries(
      this.disks.flatMap(({ name, active }) => (active === null ? [] : [[name, active.id]])),
    );
    await this.options.images.setCurrent({ format: 1, images, aside: [] });
  }

  /** Removes everything that was written. The VM's QEMU must be gone. */
  async discard(): Promise<void> {
    const { host, images } = this.options;
    await host.kill().catch(() => {});
    this.release();
    for (const { received, active, file } of this.disks) {
      for (const image of active === null ? [received] : [received, active]) {
        await rm(join(images.path, `${image.id}.json`), { force: true });
        await rm(images.pathOf(image), { force: true });
        await rm(join(images.path, `${image.id}.digests`), { force: true });
      }
      await rm(file.path, { force: true });
    }
  }

  /** Closes what is open here. */
  release(): void {
    for (const { content, digests, file, layers } of this.disks) {
      content?.close();
      digests.release();
      for (const one of [file, ...layers]) one.close();
    }
  }

  private async open(disk: ArrivingDisk): Promise<void> {
    const { core, key, images, legId, base, host, willRun } = this.options;
    const { name, lengthBytes } = disk;
    const held = base?.manifest.disks.find((one) => one.name === name)?.image ?? null;
    const received = images.describe(name, lengthBytes, held);
    const active = willRun ? images.describe(name, lengthBytes, received.id) : null;
    const below = held === null ? null : await images.read(held);
    await host.create({
      path: images.pathOf(received),
      lengthBytes,
      backing: below && { file: headerName(images, below), format: below.imageFormat },
      bitmap: null,
    });
    if (active !== null) await createOverlay(host.qmp, images, active, received, disk.granularityBytes);
    const content = held === null ? null : await openContent(images, held);
    const layers = held === null ? [] : await openDigestLayers(images, held);
    const blocks = blocksOf(lengthBytes);
    const file = DigestFile.create(images.partialDigests(legId, received.id), blocks);
    const digests = new BlockDigests(core, key, blocks, [file, ...layers]);
    this.disks.push({ name, lengthBytes, received, active, content, digests, file, layers, client: null });
  }

  private flushInBackground(bytes: number): void {
    this.unflushedBytes += bytes;
    if (this.unflushedBytes < flushEveryBytes || this.flushing !== null) return;
    this.unflushedBytes = 0;
    this.flushing = Promise.all(this.disks.map(({ client }) => client?.flush()))
      .catch((error: unknown) => {
        this.failure ??= writeError(error);
      })
      .finally(() => {
        this.flushing = null;
      });
  }
}

/** Waits for all of them before a failure is thrown: nothing may be under way when the images are removed. */
async function settled(writes: readonly Promise<void>[]): Promise<Promise<void>[]> {
  const ended = await Promise.allSettled(writes);
  const failed = ended.find((one) => one.status === "rejected");
  if (failed) throw writeError(failed.reason);
  return [];
}

/** The server tells a full disk by the error's name alone. */
function writeError(error: unknown): unknown {
  const { cause } = error as Error;
  const isFull = (cause as NodeJS.ErrnoException | undefined)?.code === "ENOSPC";
  return isFull ? storeError("Cannot write a disk's image", cause) : error;
}
