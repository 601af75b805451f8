/** Reads a disk of a generation through its images and checks every block against the generation's digests. */

import { rmSync } from "node:fs";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import { type DiskTop, digestBytes } from "../../src/generation/digest-tree.ts";
import type { ManifestDisk } from "../../src/generation/manifest.ts";
import { type OpenDigests, openContent, openDigests } from "../disk/image-content.ts";
import type { ImageStore } from "../disk/image-store.ts";
import { mergeRuns } from "../disk/merge-runs.ts";
import { messageOf, OperationError } from "../errors.ts";
import { DigestFile } from "../store/digest-file.ts";
import type { DamageLog } from "./damage-log.ts";
import type { BlockTaker } from "./disk-file.ts";

const windowBlocks = 256;

/** What is read, and with what. */
export interface DiskContentOptions {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly images: ImageStore;
  readonly disk: ManifestDisk;
  /** A file for digests while the disk is read, 16 bytes for each block with data; it is removed. */
  readonly scratchPath: string;
  readonly log: DamageLog;
  readonly onBytes: (bytes: number) => void;
}

/**
 * Hands all blocks that are not zero to `taker`. What differs from the stored digests goes to `log`. Returns the top
 * over what was read. Throws OperationError or FormatError if an image cannot be read.
 */
export async function readDisk(options: DiskContentOptions, taker: BlockTaker): Promise<DiskTop> {
  const { core, key, images, disk, scratchPath, log, onBytes } = options;
  const { name, lengthBytes, image } = disk;
  const chain = await openContent(images, image);
  let stored: OpenDigests | null = null;
  let scratch: DigestFile | null = null;
  let fresh: BlockDigests | null = null;
  const window = core.allocate(windowBlocks * pageBytes);
  const found = core.allocate(windowBlocks * digestBytes);
  try {
    if (chain.lengthBytes !== lengthBytes) {
      throw new OperationError(
        "failed",
        `image ${image} has ${chain.lengthBytes} bytes, ${lengthBytes} expected`,
      );
    }
    stored = await openDigests(core, key, images, image).catch((error: unknown) => {
      log.add(name, messageOf(error));
      return null;
    });
    scratch = DigestFile.create(scratchPath, chain.blocks);
    fresh = new BlockDigests(core, key, chain.blocks, [scratch]);
    const expected = new Uint8Array(windowBlocks * digestBytes);
    let seen = 0;
    // Where the images have nothing the digests must say so too.
    const runs = mergeRuns(chain.dataRuns(), stored?.digests.nonZeroRuns() ?? [].values());
    for (const run of runs) {
      for (let block = run.block, left = run.count; left > 0; block += windowBlocks, left -= windowBlocks) {
        const count = Math.min(windowBlocks, left);
        chain.readBlocks(core.bytes(), window, block, count);
        core.raw.pageDigests(window, count, fresh.keyPointer, found);
        stored?.digests.copy(block, count, expected, 0);
        const memory = core.bytes();
        for (let i = 0; i < count; i++) {
          const at = found + i * digestBytes;
          fresh.set(block + i, memory, at);
          if (stored !== null && !isEqual(expected, i * digestBytes, memory, at)) {
            log.wrong(name, "block", block + i);
          }
        }
        taker.blocks(block, count, window);
        onBytes((block + count) * pageBytes - seen);
        seen = (block + count) * pageBytes;
      }
    }
    onBytes(lengthBytes - seen);
    taker.finish();
    return { name, lengthBytes, top: fresh.top() };
  } finally {
    chain.close();
    stored?.close();
    fresh?.release();
    scratch?.close();
    rmSync(scratchPath, { force: true });
    core.release(window);
    core.release(found);
  }
}

function isEqual(a: Uint8Array, at: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < digestBytes; i++) if (a[at + i] !== b[bAt + i]) return false;
  return true;
}
