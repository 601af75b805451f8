/** Findings about the digests of a disk: which entry of which file is damaged. */

import { bytesEqual } from "../../src/bytes.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun } from "../../src/disk/index.ts";
import { nodeChildren } from "../../src/generation/block-digest-layout.ts";
import type { BlockDigests } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import { type AboutDisk, BlockFindings } from "./block-findings.ts";
import { appendBlock } from "./block-runs.ts";
import type { DigestLayer } from "./digest-layer.ts";
import { bytesOf, type DigestEntry, firstBlockOf, placeOf } from "./digest-nodes.ts";
import type { VmImages } from "./vm-images.ts";

/** Nodes that are listed one by one. */
const maxNodes = 64;

const problems = {
  leaf: "the block's digest in this file is damaged, its content is right",
  node: "a node over the digests in this file is damaged, what is below it is right",
  disagrees: "a node over the digests does not fit what is below it",
} as const;

interface EntryPlace {
  readonly path: string;
  readonly offset: number;
}

/** Entries side by side in one file. */
interface EntryRun extends EntryPlace {
  readonly block: number;
  count: number;
}

/** Reports what is wrong with the digests of one disk. */
export class DigestFindings {
  private readonly images: VmImages;
  private readonly about: AboutDisk;
  private readonly chain: readonly ImageDescriptor[];
  private readonly layers: readonly DigestLayer[];
  private readonly digests: BlockDigests;
  private nodesListed = 0;

  /** `layers` are those of `digests`, newest first, and belong to the images of `chain`. */
  constructor(
    images: VmImages,
    about: AboutDisk,
    chain: readonly ImageDescriptor[],
    layers: readonly DigestLayer[],
    digests: BlockDigests,
  ) {
    this.images = images;
    this.about = about;
    this.chain = chain;
    this.layers = layers;
    this.digests = digests;
  }

  /**
   * Entries that are not as in `right`, whose newest layer has all that may differ. Returns the blocks whose digests
   * these are, in ascending order.
   */
  differences(right: BlockDigests): BlockRun[] {
    const wrong: BlockRun[] = [];
    const { digests } = this;
    const levels = digests.windows.levels.length;
    const last = new Array<number>(levels).fill(-1);
    const leaves = new BlockFindings(this.images, this.about, problems.leaf);
    let waiting: EntryRun | null = null;
    const report = ({ path, offset, block, count }: EntryRun) =>
      leaves.add(path, { block, count }, () => offset);
    for (const run of right.ownRuns()) {
      for (let block = run.block; block < run.block + run.count; block++) {
        for (let level = 0; level < levels; level++) {
          const entry = Math.floor(block / nodeChildren ** level);
          if (entry === last[level]) continue;
          last[level] = entry;
          const one = { level, entry };
          if (bytesEqual(bytesOf(digests, one), bytesOf(right, one))) continue;
          const place = this.blame(one);
          if (level === 0) appendBlock(wrong, block);
          if (!place.isNew) continue;
          if (level > 0) {
            this.addNode(one, place, problems.node);
            continue;
          }
          const isNext =
            waiting?.path === place.path && waiting.offset + waiting.count * digestBytes === place.offset;
          if (waiting && isNext) waiting.count++;
          else {
            if (waiting) report(waiting);
            waiting = { ...place, block, count: 1 };
          }
        }
      }
    }
    if (waiting) report(waiting);
    leaves.end();
    this.endNodes(problems.node);
    return wrong;
  }

  /** Nodes that do not fit what is below them, where nothing says which of both is wrong. */
  nodes(entries: readonly DigestEntry[]): void {
    for (const entry of entries) this.addNode(entry, this.placeOf(entry), problems.disagrees);
    this.endNodes(problems.disagrees);
  }

  private addNode(entry: DigestEntry, { path, offset }: EntryPlace, problem: string): void {
    if (++this.nodesListed > maxNodes) return;
    const block = firstBlockOf(entry);
    const blocks = Math.min(nodeChildren ** entry.level, this.digests.blocks - block);
    this.images.add({ path, ...this.about, block, blocks, diskOffset: block * pageBytes, offset, problem });
  }

  private endNodes(problem: string): void {
    const more = this.nodesListed - maxNodes;
    if (more <= 0) return;
    const { path } = this.layers[0];
    this.images.add({
      path,
      ...this.about,
      problem: `${problem}: ${more} more of them, not listed one by one`,
    });
  }

  /** File and position of an entry; where no file has it, the newest one should. */
  private placeOf(entry: DigestEntry): EntryPlace {
    const { layer, offset } = placeOf(this.digests, entry);
    return { path: this.layers[layer ?? 0].path, offset };
  }

  /**
   * The file whose fault a damaged entry is: one where it was found already, for an older generation; else the newest,
   * if the older ones were right about it; else the one that it was read from.
   */
  private blame(entry: DigestEntry): EntryPlace & { readonly isNew: boolean } {
    const { damagedEntries, examined } = this.images;
    const { layer, offset } = placeOf(this.digests, entry);
    const known = this.layers.find(({ path }) => damagedEntries.has(`${path}:${offset}`));
    if (known) return { path: known.path, offset, isNew: false };
    const wasRight = layer === null || this.chain.slice(1, layer + 1).some(({ id }) => examined.has(id));
    const { path } = this.layers[wasRight ? 0 : layer];
    damagedEntries.add(`${path}:${offset}`);
    return { path, offset, isNew: true };
  }
}
