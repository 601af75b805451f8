/** Which blocks of a disk differ between two generations: by their digests, or by their contents. */

import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun } from "../../src/disk/index.ts";
import { differingRuns } from "../../src/generation/block-digests.ts";
import { openContent, openDigests } from "../disk/image-content.ts";
import type { ImageStore } from "../disk/image-store.ts";
import { mergeRuns } from "../disk/merge-runs.ts";

/** An image of a store. */
export interface PlacedImage {
  readonly images: ImageStore;
  readonly id: string;
}

const blocksAtOnce = 256;

/** Compares digests; equal parts of the trees cost nothing. Throws OperationError if one cannot be read. */
export async function diffDiskDigests(
  core: Core,
  key: Uint8Array,
  a: PlacedImage,
  b: PlacedImage,
  onBlocks: (run: BlockRun) => void,
): Promise<void> {
  const left = await openDigests(core, key, a.images, a.id);
  try {
    const right = await openDigests(core, key, b.images, b.id);
    try {
      for (const run of differingRuns(left.digests, right.digests)) onBlocks(run);
    } finally {
      right.close();
    }
  } finally {
    left.close();
  }
}

/** Compares contents where an image has data. Throws OperationError or FormatError if one cannot be read. */
export async function diffDiskContents(
  core: Core,
  a: PlacedImage,
  b: PlacedImage,
  onBlocks: (run: BlockRun) => void,
): Promise<void> {
  const left = await openContent(a.images, a.id);
  const at = core.allocate(2 * blocksAtOnce * pageBytes);
  const other = at + blocksAtOnce * pageBytes;
  try {
    const right = await openContent(b.images, b.id);
    try {
      for (const run of mergeRuns(left.dataRuns(), right.dataRuns())) {
        for (let block = run.block, rest = run.count; rest > 0; block += blocksAtOnce, rest -= blocksAtOnce) {
          const count = Math.min(blocksAtOnce, rest);
          left.readBlocks(core.bytes(), at, block, count);
          right.readBlocks(core.bytes(), other, block, count);
          for (let i = 0; i < count; i++) {
            const offset = i * pageBytes;
            if (!core.raw.pagesEqual(at + offset, other + offset)) onBlocks({ block: block + i, count: 1 });
          }
        }
      }
    } finally {
      right.close();
    }
  } finally {
    left.close();
    core.release(at);
  }
}
