/** Disk images as QEMU's block nodes: each image is a format node over a file node, over the node of the image under it. */

import type { QmpObject } from "../qemu/qmp-messages.ts";
import type { ImageDescriptor, ImageStore } from "./image-store.ts";

/** How the VM's disk is cached and what becomes of discards. */
export interface NodeOptions {
  /** True for the image that is written to; the ones under it never are. */
  readonly writable: boolean;
  /** `none`: past the host's page cache. */
  readonly cache: "writeback" | "none";
}

/** Name of the image's format node: it fits QEMU's 31 characters, and is the same in each QEMU. */
export function nodeName(imageId: string): string {
  return `bf-${imageId.slice(-8)}`;
}

/** Options of `blockdev-add`, or of `-blockdev`, for a chain of images (newest first); the lowest comes first. */
export function chainNodes(
  images: ImageStore,
  chain: readonly ImageDescriptor[],
  options: NodeOptions,
): QmpObject[] {
  return chain
    .map((image, i) => imageNode(images, image, i === 0 && options.writable, options.cache))
    .reverse();
}

function imageNode(
  images: ImageStore,
  image: ImageDescriptor,
  writable: boolean,
  cache: NodeOptions["cache"],
): QmpObject {
  const name = nodeName(image.id);
  const cacheOptions = { direct: cache === "none", "no-flush": false };
  const node: QmpObject = {
    driver: image.imageFormat,
    "node-name": name,
    "read-only": !writable,
    discard: "unmap",
    cache: cacheOptions,
    file: {
      driver: "file",
      filename: images.pathOf(image),
      "node-name": `${name}-f`,
      discard: "unmap",
      cache: cacheOptions,
    },
  };
  if (image.imageFormat === "raw") return node;
  // A file that the operator gave may stand on others by its own header; ours say it here, whatever the header says.
  if (image.backing !== null) return { ...node, backing: nodeName(image.backing) };
  return isOwn(image) ? { ...node, backing: null } : node;
}

function isOwn({ file }: ImageDescriptor): boolean {
  return !file.startsWith("/");
}
