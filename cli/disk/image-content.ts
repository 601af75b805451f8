/** Content and digests of images in the store, read through all the images under them. */

import { dirname, isAbsolute, resolve } from "node:path";
import type { Core } from "../../src/core.ts";
import { type DiskImage, ImageChain, type ImageFormat, openImage } from "../../src/disk/index.ts";
import { FormatError } from "../../src/errors.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { OperationError } from "../errors.ts";
import { DigestFile } from "../store/digest-file.ts";
import { nodeDecompressors, openFileSource } from "./file-source.ts";
import { type ImageDescriptor, type ImageStore, maxChainImages } from "./image-store.ts";

/** Opens the content of an image. Throws OperationError or FormatError. */
export async function openContent(images: ImageStore, id: string): Promise<ImageChain> {
  const chain = await images.chain(id);
  const opened: DiskImage[] = [];
  try {
    for (const image of chain) {
      const found = openImageFile(images.pathOf(image), image.imageFormat);
      opened.push(found);
      if (found.lengthBytes !== image.lengthBytes) {
        throw new OperationError(
          "failed",
          `Cannot use ${images.pathOf(image)}: it has ${found.lengthBytes} bytes, ${image.lengthBytes} expected`,
        );
      }
      if (isAbsolute(image.file)) openBelow(images.pathOf(image), found, opened);
    }
    return new ImageChain(opened, chain[0].lengthBytes);
  } catch (error) {
    for (const image of opened) image.close();
    throw error;
  }
}

/** Opens one file. Throws OperationError or FormatError with its path. */
export function openImageFile(path: string, format: ImageFormat): DiskImage {
  const source = openFileSource(path);
  try {
    return openImage(source, format, nodeDecompressors);
  } catch (error) {
    source.close();
    if (!(error instanceof FormatError)) throw error;
    throw new OperationError("failed", `Cannot use disk image ${path}: ${error.message}`, { cause: error });
  }
}

/** Files under one that the operator gave, by their headers. Throws OperationError. */
export function backingFilesOf(path: string, format: ImageFormat): string[] {
  const opened: DiskImage[] = [openImageFile(path, format)];
  try {
    return openBelow(path, opened[0], opened);
  } finally {
    for (const image of opened) image.close();
  }
}

/** All files that an image's content and digests stand in, newest first. */
export async function filesOf(images: ImageStore, id: string): Promise<string[]> {
  const files: string[] = [];
  for (const image of await images.chain(id)) {
    const path = images.pathOf(image);
    files.push(path);
    if (image.digests !== null) files.push(images.digestsPathOf(image));
    if (isAbsolute(image.file)) files.push(...backingFilesOf(path, image.imageFormat));
  }
  return files;
}

/** Digest layers of an image, open for reading; close them when done. Throws OperationError. */
export async function openDigestLayers(images: ImageStore, id: string): Promise<DigestFile[]> {
  const layers: DigestFile[] = [];
  try {
    for (const image of await images.chain(id)) {
      const blocks = blocksOf(image.lengthBytes);
      layers.push(DigestFile.open(images.digestsPathOf(image), blocks, { writable: false }));
    }
    return layers;
  } catch (error) {
    for (const layer of layers) layer.close();
    throw error;
  }
}

/** Digests with the files that they are in. */
export interface OpenDigests {
  readonly digests: BlockDigests;
  close(): void;
}

/** Opens the digests of an image for reading. Throws OperationError. */
export async function openDigests(
  core: Core,
  key: Uint8Array,
  images: ImageStore,
  id: string,
): Promise<OpenDigests> {
  const { lengthBytes } = await images.read(id);
  const layers = await openDigestLayers(images, id);
  const digests = new BlockDigests(core, key, blocksOf(lengthBytes), layers, { writable: false });
  return {
    digests,
    close: () => {
      digests.release();
      for (const layer of layers) layer.close();
    },
  };
}

/** The files under an external image, appended to `opened`; returns their paths. */
function openBelow(path: string, image: DiskImage, opened: DiskImage[]): string[] {
  const paths: string[] = [];
  for (let [at, { backing }] = [path, image]; backing !== null; ) {
    const { file, format } = backing;
    if (/^[a-z+]+:/.test(file)) {
      throw new OperationError(
        "failed",
        `Cannot use disk image ${path}: it stands on ${file}, which is not a file`,
      );
    }
    if (format === null) {
      throw new OperationError(
        "failed",
        `Cannot use disk image ${path}: its header does not say the format of ${file}; set it with 'qemu-img rebase -u -F'`,
      );
    }
    if (opened.length >= maxChainImages) {
      throw new OperationError(
        "failed",
        `Cannot use disk image ${path}: more than ${maxChainImages} under it`,
      );
    }
    at = resolve(dirname(at), file);
    const below = openImageFile(at, format);
    opened.push(below);
    paths.push(at);
    backing = below.backing;
  }
  return paths;
}

/** A descriptor with what its file says; for the operator's own files. Throws OperationError. */
export function describeExternal(
  images: ImageStore,
  disk: string,
  path: string,
  imageFormat: ImageFormat,
): ImageDescriptor {
  const image = openImageFile(path, imageFormat);
  try {
    const { lengthBytes } = image;
    return { ...images.describe(disk, lengthBytes, null), file: path, imageFormat };
  } finally {
    image.close();
  }
}
