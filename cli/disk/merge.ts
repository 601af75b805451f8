/**
 * Keeps chains of images short. An image that no generation names any more takes over what lies above it, up to the
 * next image that is named; that one then goes on under its own id in the lower one's file.
 *
 *     base ◄─ u1 ◄─ u2 ◄─ n ◄─ …        u1, u2: unnamed; n: named by a generation
 *     base ◄─ n' ◄─ …                   n': id of n, file of u1, to which u2 and n were copied
 *
 * What is copied is what the overlays hold, not the disk. At every moment, also after a crash, each named image reads
 * the same: until the descriptor of n is replaced, n and u2 hide in u1 what was copied there.
 */

import type { Core } from "../../src/core.ts";
import { BlockDigests, foldDigests } from "../../src/generation/block-digests.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { OperationError } from "../errors.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { DigestFile } from "../store/digest-file.ts";
import { endLeftJobs, runBlockJob } from "./block-job.ts";
import { headerName } from "./image-creation.ts";
import type { ImageDescriptor, ImageStore } from "./image-store.ts";

/** Names of our jobs in QEMU begin so. */
const jobPrefix = "merge-";

/** Images that become one: newest first; the first keeps its id, the last its file. */
export interface Merge {
  /** What QEMU's device, or a block host, has on top of everything. */
  readonly top: ImageDescriptor;
  readonly images: readonly ImageDescriptor[];
}

/** What a plan is made from. */
export interface MergePlanInputs {
  /** A chain, newest first; the first image is never merged: a VM may write to it. */
  readonly chain: readonly ImageDescriptor[];
  /** Images that a generation names, or that are kept for another reason. */
  readonly named: ReadonlySet<string>;
  /** All images of the store. */
  readonly all: Iterable<ImageDescriptor>;
}

/** The lowest merge that is possible; null if there is none. */
export function planMerge({ chain, named, all }: MergePlanInputs): Merge | null {
  const children = new Map<string, number>();
  for (const { backing } of all)
    if (backing !== null) children.set(backing, (children.get(backing) ?? 0) + 1);
  // An image with two images above it is part of two disks' histories: what one takes over, the other must not see.
  const mayGo = ({ id }: ImageDescriptor) => !named.has(id) && children.get(id) === 1;
  for (let bottom = chain.length - 1; bottom > 0; bottom--) {
    if (!mayGo(chain[bottom])) continue;
    let first = bottom;
    while (first - 1 > 0 && mayGo(chain[first - 1])) first--;
    // The image above the unnamed ones joins them, unless it is the one that is written to.
    if (first - 1 > 0) first--;
    if (first < bottom) return { top: chain[0], images: chain.slice(first, bottom + 1) };
  }
  return null;
}

interface BlockNode {
  readonly "node-name": string;
  readonly drv: string;
  readonly image: { readonly filename: string };
}

/**
 * Merges images in a QEMU that has the chain open: the VM's own, which runs on, or a block host. Returns false if
 * `isWanted` said no before it was done; then nothing has changed. Throws OperationError.
 */
export async function mergeImages(
  core: Core,
  key: Uint8Array,
  images: ImageStore,
  qmp: QmpClient,
  merge: Merge,
  isWanted: () => boolean,
): Promise<boolean> {
  const kept = merge.images[0];
  const base = merge.images[merge.images.length - 1];
  const nodeOf = await nodesByFile(qmp);
  const node = (image: ImageDescriptor): string => {
    const found = nodeOf.get(images.pathOf(image));
    if (found === undefined)
      throw new OperationError("failed", `Cannot merge image ${image.id}: QEMU does not have it`);
    return found;
  };
  const gone = merge.images.slice(0, -1).map(node);
  const done = await runBlockJob(
    qmp,
    `${jobPrefix}${kept.id.slice(-8)}`,
    "block-commit",
    {
      device: node(merge.top),
      "top-node": node(kept),
      "base-node": node(base),
      "backing-file": headerName(images, base),
      "auto-dismiss": false,
    },
    isWanted,
  );
  if (!done) return false;
  await foldAll(core, key, images, merge.images);
  const { file, imageFormat, digests, backing } = base;
  await images.write({ ...kept, file, imageFormat, digests, backing });
  for (const name of gone) await qmp.execute("blockdev-del", { "node-name": name }).catch(() => {});
  return true;
}

/** Takes back merges of an agent that has died meanwhile. */
export async function endLeftMerges(qmp: QmpClient): Promise<void> {
  await endLeftJobs(qmp, jobPrefix);
}

/** Digests of the upper images go to the lowest one's file, oldest first. */
async function foldAll(
  core: Core,
  key: Uint8Array,
  images: ImageStore,
  merged: readonly ImageDescriptor[],
): Promise<void> {
  const [{ lengthBytes }] = merged;
  const blocks = blocksOf(lengthBytes);
  const lower = DigestFile.open(images.digestsPathOf(merged[merged.length - 1]), blocks, { writable: true });
  try {
    for (const image of merged.slice(0, -1).reverse()) {
      const file = DigestFile.open(images.digestsPathOf(image), blocks, { writable: false });
      const digests = new BlockDigests(core, key, blocks, [file, lower], { writable: false });
      try {
        foldDigests(digests, lower);
      } finally {
        digests.release();
        file.close();
      }
    }
    await lower.sync();
  } finally {
    lower.close();
  }
}

/**
 * Format nodes by the files that they are in. A format node's own file name may be JSON that describes what lies under
 * it; the file node has the plain one, and ours are named after their format node.
 */
async function nodesByFile(qmp: QmpClient): Promise<Map<string, string>> {
  const nodes = await qmp.execute<BlockNode[]>("query-named-block-nodes", { flat: true });
  const names = new Set(nodes.map((node) => node["node-name"]));
  const found = new Map<string, string>();
  for (const { drv, image, "node-name": name } of nodes) {
    const format = name.replace(/-f$/, "");
    if (drv === "file" && format !== name && names.has(format)) found.set(image.filename, format);
  }
  return found;
}
