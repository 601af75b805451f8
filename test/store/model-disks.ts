/** Disk images for model stores, made without QEMU: raw files, and overlays that the qcow2 builder writes. */

import { writeFileSync } from "node:fs";
import { openDigestLayers, openDigests } from "../../cli/disk/image-content.ts";
import type { ImageDescriptor } from "../../cli/disk/image-store.ts";
import { DigestFile } from "../../cli/store/digest-file.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { buildQcow2, type ClusterShape } from "../disk/qcow2-builder.ts";
import { type ModelDisk, type ModelStore, page } from "./model-store.ts";

/** An image in a store, and what its disk reads as. */
export interface ModelImage {
  readonly image: ImageDescriptor;
  readonly content: Uint8Array;
}

/** What an overlay has of a block; it has nothing of blocks that are not named. */
export type OwnBlocks = ReadonlyMap<number, "data" | "zero">;

/** Puts a complete image, raw, with its digests, into the store. */
export async function addImage(model: ModelStore, disk: string, content: Uint8Array): Promise<ModelImage> {
  const { images } = model.store;
  const described = images.describe(disk, content.length, null);
  const image: ImageDescriptor = { ...described, imageFormat: "raw", file: `${described.id}.raw` };
  writeFileSync(images.pathOf(image), content);
  const own = Array.from({ length: blocksOf(content.length) }, (_, block) => block);
  return { image: await addDigests(model, image, content, own), content };
}

/** Puts a qcow2 image over another one; blocks of kind data get noise. */
export async function addOverlay(
  model: ModelStore,
  below: ModelImage,
  own: OwnBlocks,
  seed: number,
): Promise<ModelImage> {
  const { images } = model.store;
  const { lengthBytes } = below.image;
  const image = images.describe(below.image.disk, lengthBytes, below.image.id);
  const clusters = Array.from({ length: blocksOf(lengthBytes) }, (_, block): ClusterShape => {
    return { kind: own.get(block) ?? "absent" };
  });
  const built = buildQcow2({
    version: 3,
    clusterBits: 12,
    extended: false,
    diskBytes: lengthBytes,
    clusters,
    seed,
    backing: { file: below.image.file, format: below.image.imageFormat },
  });
  writeFileSync(images.pathOf(image), built.bytes);
  const content = below.content.slice();
  for (const block of own.keys()) content.set(blockOf(built.content, block), block * page);
  return { image: await addDigests(model, image, content, own.keys()), content };
}

/** The disk as a generation names it. */
export async function diskOf(model: ModelStore, { image }: ModelImage): Promise<ModelDisk> {
  const opened = await openDigests(model.core, model.key, model.store.images, image.id);
  try {
    return {
      name: image.disk,
      lengthBytes: image.lengthBytes,
      image: image.id,
      top: opened.digests.top(),
    };
  } finally {
    opened.close();
  }
}

/** The bytes that a disk has of a block; the last one may be shorter. */
function blockOf(content: Uint8Array, block: number): Uint8Array {
  return content.subarray(block * page, (block + 1) * page);
}

/** The digest of a block; the end of a disk that fills no whole block counts as zeroes. */
export function blockDigest(model: ModelStore, content: Uint8Array, block: number): Uint8Array {
  const whole = new Uint8Array(page);
  whole.set(blockOf(content, block));
  return model.core.blake3(whole, model.key, digestBytes);
}

async function addDigests(
  model: ModelStore,
  image: ImageDescriptor,
  content: Uint8Array,
  own: Iterable<number>,
): Promise<ImageDescriptor> {
  const { images } = model.store;
  const sealed = { ...image, digests: `${image.id}.digests` };
  const blocks = blocksOf(image.lengthBytes);
  const below = image.backing === null ? [] : await openDigestLayers(images, image.backing);
  const file = DigestFile.create(images.digestsPathOf(sealed), blocks);
  const digests = new BlockDigests(model.core, model.key, blocks, [file, ...below]);
  for (const block of own) digests.set(block, blockDigest(model, content, block), 0);
  digests.flush();
  digests.release();
  for (const layer of [file, ...below]) layer.close();
  await images.write(sealed);
  return sealed;
}
