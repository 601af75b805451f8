/** Disks of generations as a leg leaves them: images, digests and frames in the delta, made without a QEMU. */

import { writeFileSync } from "node:fs";
import { openContent, openDigestLayers, openDigests } from "../../cli/disk/image-content.ts";
import type { ImageDescriptor, ImageStore } from "../../cli/disk/image-store.ts";
import { DigestFile } from "../../cli/store/digest-file.ts";
import type { Core } from "../../src/core.ts";
import { BlockEncoder } from "../../src/delta/block-encoder.ts";
import type { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { readQcow2Header } from "../../src/disk/qcow2-header.ts";
import { Qcow2Map } from "../../src/disk/qcow2-map.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { blocksOf, type DiskShape } from "../../src/generation/disks.ts";
import { MemorySource } from "../disk/memory-source.ts";
import { buildQcow2, type ClusterShape } from "../disk/qcow2-builder.ts";
import type { ModelDisk } from "../store/model-store.ts";

const block = 4096;

/** Blocks of a disk that are not zero, by their number. */
export type DiskContent = ReadonlyMap<number, Uint8Array>;

/** What a generation's disk is to be. */
export interface LegDisk {
  readonly content: DiskContent;
  /** Makes the image's file; without it `buildImage` does, which is for small disks. */
  readonly make?: (path: string, backing: string | null) => void;
}

/** What a delta says wrongly of a disk. */
export interface DeltaLie {
  /** A block that has no record. */
  readonly omitted?: number;
  /** A block whose record has another content than the generation. */
  readonly wrong?: number;
}

/** Where disks of a generation go. */
export interface LegDiskTarget {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly images: ImageStore;
  /** Index of the disk among the regions of frames. */
  readonly region: number;
  readonly sequence: FrameSequence;
  readonly sink: (frame: Uint8Array, sequence: number, kinds: Uint8Array) => void;
  readonly lie: DeltaLie;
}

/** Writes the image of a disk over the base's, its digests, and its frames. */
export async function addDisk(
  target: LegDiskTarget,
  shape: DiskShape,
  disk: LegDisk,
  base: { readonly image: string; readonly content: DiskContent } | null,
): Promise<ModelDisk> {
  const { core, key, images, region, sequence, sink } = target;
  const { name, lengthBytes } = shape;
  const blocks = blocksOf(lengthBytes);
  const below = base && (await images.read(base.image));
  const made: ImageDescriptor = images.describe(name, lengthBytes, base?.image ?? null);
  const image: ImageDescriptor = { ...made, digests: `${made.id}.digests` };
  const backing = below && images.pathOf(below);
  if (disk.make) disk.make(images.pathOf(image), backing);
  else writeFileSync(images.pathOf(image), buildImage(lengthBytes, disk.content, base?.content ?? null));
  const layers = base ? await openDigestLayers(images, base.image) : [];
  const file = DigestFile.create(images.digestsPathOf(image), blocks);
  const own = new BlockDigests(core, key, blocks, [file, ...layers]);
  const peer = base && (await openDigests(core, key, images, base.image));
  const content = base && (await openContent(images, base.image));
  const scratch = core.allocate(2 * block);
  const baseBlock = (number: number) => {
    content?.readBlocks(core.bytes(), scratch, number, 1);
    return scratch;
  };
  const encoder = new BlockEncoder(core, {
    region,
    own,
    peer: peer?.digests ?? null,
    base: content ? { mode: "content", reader: { baseBlock } } : { mode: "zero" },
    sequence,
    sink: (frame, kinds) => sink(frame, sequence.next - 1, kinds),
  });
  const changed = new Set([...(base?.content.keys() ?? []), ...disk.content.keys()]);
  for (const number of [...changed].sort((a, b) => a - b)) {
    const bytes = disk.content.get(number);
    const { omitted, wrong } = target.lie;
    if (number === wrong) encoder.zeroBlocks(number, 1);
    if (number === omitted || number === wrong) {
      own.set(number, core.blake3(bytes ?? new Uint8Array(block), key, 16), 0);
    } else if (bytes) {
      core.bytes().set(bytes, scratch + block);
      encoder.blocks(number, 1, scratch + block);
    } else encoder.zeroBlocks(number, 1);
  }
  encoder.flush();
  own.flush();
  await images.write(image);
  const top = own.top();
  encoder.release();
  core.release(scratch);
  own.release();
  for (const one of [file, ...layers, peer, content]) one?.close();
  return { name, lengthBytes, image: image.id, top };
}

/** A qcow2 image with clusters of one block, which has what differs from the base. */
export function buildImage(
  lengthBytes: number,
  content: DiskContent,
  base: DiskContent | null,
  backing?: { readonly file: string; readonly format: string },
): Uint8Array {
  const clusters = Array.from({ length: blocksOf(lengthBytes) }, (_, number): ClusterShape => {
    const [now, before] = [content.get(number), base?.get(number)];
    if (now) return { kind: before && Buffer.compare(now, before) === 0 ? "absent" : "data" };
    return { kind: before ? "zero" : "absent" };
  });
  const { bytes } = buildQcow2({
    version: 3,
    clusterBits: 12,
    extended: false,
    diskBytes: lengthBytes,
    clusters,
    seed: 1,
    ...(backing && { backing }),
  });
  const source = new MemorySource(bytes);
  const map = new Qcow2Map(source, readQcow2Header(source));
  for (const [number, { kind }] of clusters.entries()) {
    if (kind !== "data") continue;
    map.locate(number * block, 1);
    bytes.set(content.get(number) as Uint8Array, map.fileAt);
  }
  return bytes;
}

/** A block of one byte's value. */
export function blockOf(value: number): Uint8Array {
  return new Uint8Array(block).fill(value);
}
