/**
 * Images that lie under the one a VM writes to, and have no digests: a checkpoint has frozen them, and has ended before all
 * of them was read. Nobody writes to them any more; with digests they are complete images like those of a generation.
 */

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun, DiskImage, ImageChain } from "../../src/disk/index.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { syncDirectory } from "../store/atomic-file.ts";
import { DigestFile } from "../store/digest-file.ts";
import { openContent, openDigestLayers, openImageFile } from "./image-content.ts";
import type { ImageDescriptor, ImageStore } from "./image-store.ts";

const windowBlocks = 128;
/** Bytes of an image whose tables are looked at in one step. */
const stepBytes = 2 ** 30;

/** Images under `top` without digests, lowest first. Throws OperationError. */
export async function incompleteUnder(images: ImageStore, top: string): Promise<ImageDescriptor[]> {
  const [, ...under] = await images.chain(top);
  return under.filter(({ digests }) => digests === null).reverse();
}

/**
 * Gives an image its digests: of all blocks that it has itself. Those under it must have theirs. Returns false if `isWanted`
 * said no before it was done; then nothing has changed. Throws OperationError or FormatError.
 */
export async function completeImage(
  core: Core,
  key: Uint8Array,
  images: ImageStore,
  image: ImageDescriptor,
  isWanted: () => boolean = () => true,
): Promise<boolean> {
  const blocks = blocksOf(image.lengthBytes);
  const path = images.partialDigests("frozen", image.id);
  await rm(path, { force: true });
  const layers = image.backing === null ? [] : await openDigestLayers(images, image.backing);
  const file = DigestFile.create(path, blocks);
  const digests = new BlockDigests(core, key, blocks, [file, ...layers]);
  const content = await openContent(images, image.id).catch((error) => {
    release();
    throw error;
  });
  const own = image.backing === null ? null : openImageFile(images.pathOf(image), image.imageFormat);
  const window = core.allocate(windowBlocks * pageBytes);
  const found = core.allocate(windowBlocks * digestBytes);
  function release(): void {
    digests.release();
    for (const one of [file, ...layers]) one.close();
  }
  try {
    // Without an image under it what it does not have is zero, which needs no entry.
    for (const run of own === null ? content.dataRuns() : ownRuns(own, content)) {
      for (let done = 0; done < run.count; done += windowBlocks) {
        if (!isWanted()) return false;
        const count = Math.min(windowBlocks, run.count - done);
        content.readBlocks(core.bytes(), window, run.block + done, count);
        core.raw.pageDigests(window, count, digests.keyPointer, found);
        for (let i = 0; i < count; i++) {
          digests.set(run.block + done + i, core.bytes(), found + i * digestBytes);
        }
        await nextTurn();
      }
    }
    digests.flush();
    await file.sync();
    const name = `${image.id}.digests`;
    await rename(path, join(images.path, name));
    await syncDirectory(images.path);
    await images.write({ ...image, digests: name });
    return true;
  } finally {
    core.release(window);
    core.release(found);
    own?.close();
    content.close();
    release();
    await rm(path, { force: true });
  }
}

/** Runs of blocks that an image has itself, as data or as zeroes, whatever is under it. */
function* ownRuns(own: DiskImage, { lengthBytes }: ImageChain): Generator<BlockRun> {
  for (let at = 0; at < lengthBytes; ) {
    const status = own.status(at, Math.min(stepBytes, lengthBytes - at));
    const end = at + status.lengthBytes;
    if (status.kind !== "absent") {
      const block = Math.floor(at / pageBytes);
      yield { block, count: Math.ceil(end / pageBytes) - block };
    }
    at = end;
  }
}
