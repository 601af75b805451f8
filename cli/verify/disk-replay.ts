/** Replays the frames of disks in a delta on the disks of the base, and compares what comes out with the digests. */

import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { type BlockRun, ImageChain } from "../../src/disk/index.ts";
import { BlockDigests, differingRuns } from "../../src/generation/block-digests.ts";
import { type DiskTop, digestBytes } from "../../src/generation/digest-tree.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import type { DiskReplay } from "../../src/verify/disk-checks.ts";
import { BlockFindings } from "./block-findings.ts";
import { BlockMark, BlockMarks } from "./block-marks.ts";
import { includesBlock } from "./block-runs.ts";
import type { CheckedDisk, ExaminedDisk } from "./disk-check.ts";
import type { DiskContext } from "./disk-context.ts";
import { ImageDamage } from "./image-file.ts";

const problems = {
  replay: "replaying the delta on the base gives another content than the block's digest says",
  noRecord: "the block has no record, but its digest is not the base's",
} as const;

/** One disk of a base, open. */
interface BaseDisk {
  readonly content: ImageChain;
  readonly digests: BlockDigests;
  /** Blocks that are not what their digests say. */
  readonly bad: readonly BlockRun[];
  /** Blocks whose digests are damaged. */
  readonly wrongDigests: readonly BlockRun[];
  release(): void;
}

interface ReplayedDisk {
  readonly name: string;
  /** Digests of the generation; null if there is nothing to compare with. */
  readonly digests: BlockDigests | null;
  readonly base: BaseDisk | null;
  readonly marks: BlockMarks;
}

/** The disks of one delta. Close it. */
export class ImageReplay implements DiskReplay {
  private readonly context: DiskContext;
  private readonly disks: readonly ReplayedDisk[];

  /** `bases` are the disks of the base in the order of the generation's; null if nothing is to be replayed. */
  constructor(
    context: DiskContext,
    generation: number,
    disks: readonly ExaminedDisk[],
    { bases, tops }: { bases: readonly CheckedDisk[] | null; tops: readonly DiskTop[] | null },
  ) {
    this.context = context;
    this.disks = disks.map((disk, i) => ({
      name: disk.shape.name,
      digests: bases && disk.likelyDigests(tops?.[i].top),
      base: bases && openBase(context, bases[i], generation),
      marks: new BlockMarks(),
    }));
  }

  readBase(disk: number, block: number, target: number): void {
    const memory = this.context.core.bytes();
    try {
      const { base } = this.disks[disk];
      if (base) base.content.readBlocks(memory, target, block, 1);
      else memory.fill(0, target, target + pageBytes);
    } catch (error) {
      if (!(error instanceof ImageDamage)) throw error;
      // The base's own check has told of it; what the record makes of it says nothing.
      memory.fill(0, target, target + pageBytes);
    }
  }

  take(disk: number, { count, pages }: DecodedPages, newDigests: number): void {
    const { digests, marks } = this.disks[disk];
    if (digests === null) return;
    const memory = this.context.core.bytes();
    for (let i = 0; i < count; i++) {
      const isRight = digests.equals(pages[i], memory, newDigests + i * digestBytes);
      marks.set(pages[i], isRight ? BlockMark.right : BlockMark.wrong);
    }
  }

  report(path: string, generation: number): void {
    const { images } = this.context;
    for (const { name, digests, base, marks } of this.disks) {
      if (digests === null || base === null) continue;
      const about = { generation, disk: name };
      const wrong = new BlockFindings(images, about, problems.replay);
      for (const run of joined(marks.blocksWith(BlockMark.wrong), base.bad)) wrong.add(path, run);
      wrong.end();
      const missing = new BlockFindings(images, about, problems.noRecord);
      for (const run of differingRuns(digests, base.digests)) {
        for (const part of joined(marks.unmarked(run), base.wrongDigests)) missing.add(path, part);
      }
      missing.end();
    }
  }

  close(): void {
    for (const { base } of this.disks) base?.release();
  }
}

function openBase(context: DiskContext, disk: CheckedDisk, generation: number): BaseDisk | null {
  const { core, key, images } = context;
  const { chain, lengthBytes } = disk;
  if (chain === null) return null;
  const layers = images.openDigests(chain, disk, generation);
  const files = images.open(chain, disk, generation);
  const close = () => {
    for (const one of [...(layers ?? []), ...(files ?? [])]) one.close();
  };
  if (layers === null || files === null) {
    close();
    return null;
  }
  const digests = new BlockDigests(core, key, blocksOf(lengthBytes), layers, { writable: false });
  return {
    content: new ImageChain(files, lengthBytes),
    digests,
    wrongDigests: disk.wrongDigests,
    bad: images.compared.get(chain[0].id)?.bad ?? [],
    release: () => {
      digests.release();
      close();
    },
  };
}

/** Blocks as runs, without those that are known to be wrong in the base: they cannot come out right. */
function* joined(blocks: Iterable<number>, without: readonly BlockRun[]): Generator<BlockRun> {
  let [first, count] = [0, 0];
  for (const block of blocks) {
    if (includesBlock(without, block)) continue;
    if (count > 0 && block === first + count) {
      count++;
      continue;
    }
    if (count > 0) yield { block: first, count };
    [first, count] = [block, 1];
  }
  if (count > 0) yield { block: first, count };
}
