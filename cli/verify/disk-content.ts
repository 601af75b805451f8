/** Compares a disk's content, read through its images, with its digests. Quick where there is nothing. */

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { type BlockRun, ImageChain } from "../../src/disk/index.ts";
import { type BlockDigests, differingRuns } from "../../src/generation/block-digests.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { answersFor, appendBlock, joinRuns, soundRuns, withoutData } from "./block-runs.ts";
import { ImageDamage, type ImageFile } from "./image-file.ts";

/** Blocks that are read at a time: 1 MiB. */
const batchBlocks = 256;
/** Blocks after which other work gets a turn. */
const blocksPerTurn = 1024;

/**
 * What is wrong with a block. `content`: it does not have its digest; `surplus`: nor should there be any content;
 * `missing`: there should be some.
 */
export type BlockProblem = "content" | "surplus" | "missing";

/** Consecutive blocks with one problem. */
export interface ProblemRun extends BlockRun {
  readonly problem: BlockProblem;
}

/** A disk that is open. */
export interface OpenDisk {
  /** Newest first. */
  readonly images: readonly ImageFile[];
  readonly lengthBytes: number;
  readonly digests: BlockDigests;
}

/** An image under the newest one that was compared before: what is the same as there need not be read again. */
export interface ComparedBelow {
  /** Images above it. */
  readonly above: readonly ImageFile[];
  readonly digests: BlockDigests;
  readonly bad: readonly BlockRun[];
}

/** What happens on the way. */
export interface ContentVisitor {
  /** A block does not have its digest; what it has are 16 bytes in the core's memory. */
  readonly onMismatch: (block: number, actual: number) => void;
  readonly onUnreadable: (run: BlockRun, damage: ImageDamage) => void;
  readonly onBytes: (bytes: number) => void;
}

/** What was found. */
export interface ContentComparison {
  /** Blocks that are not what their digests say, and that no earlier comparison has told of. In ascending order. */
  readonly problems: readonly ProblemRun[];
  /** All blocks that are not what their digests say, with those that cannot be read. In ascending order. */
  readonly bad: readonly BlockRun[];
}

/** Compares all blocks. Without `below` everything that some image has is read. */
export async function compareContent(
  core: Core,
  disk: OpenDisk,
  below: ComparedBelow | null,
  visitor: ContentVisitor,
): Promise<ContentComparison> {
  const comparison = new Comparison(core, disk, visitor);
  const { images, lengthBytes, digests } = disk;
  try {
    const above = new ImageChain(below ? below.above : images, lengthBytes);
    for (const run of soundRuns(above, comparison.unreadable)) await comparison.check(run);
    // What is the same in content and in digest is what it was; so nothing else can differ from the images below.
    const others = below ? differingRuns(digests, below.digests) : digests.nonZeroRuns();
    for (const run of others) {
      for (const part of withoutData(above, run)) await comparison.check(part);
    }
    if (below) {
      for (const run of digests.nonZeroRuns()) {
        for (const part of answersFor(below.above, run))
          if (part.kind === "zero") await comparison.check(part);
      }
      comparison.isToldBefore = true;
      for (const run of below.bad) await comparison.check(run);
    }
    return { problems: comparison.problems(), bad: joinRuns(comparison.bad) };
  } finally {
    comparison.release();
  }
}

/** Looks up all positions of a chain without reading any content: what its tables say must be possible. */
export function checkTables(
  images: readonly ImageFile[],
  lengthBytes: number,
  onUnreadable: ContentVisitor["onUnreadable"],
): void {
  for (const _ of soundRuns(new ImageChain(images, lengthBytes), onUnreadable));
}

class Comparison {
  readonly bad: BlockRun[] = [];
  /** What is found from now on is not a new problem. */
  isToldBefore = false;
  private blocksOfTurn = 0;
  private readonly found: { block: number; count: number; problem: BlockProblem }[] = [];
  private readonly core: Core;
  private readonly chain: ImageChain;
  private readonly digests: BlockDigests;
  private readonly visitor: ContentVisitor;
  private readonly contents: number;
  private readonly actual: number;

  constructor(core: Core, { images, lengthBytes, digests }: OpenDisk, visitor: ContentVisitor) {
    this.core = core;
    this.chain = new ImageChain(images, lengthBytes);
    this.digests = digests;
    this.visitor = visitor;
    this.contents = core.allocate(batchBlocks * pageBytes);
    this.actual = core.allocate(batchBlocks * digestBytes);
  }

  readonly unreadable = (run: BlockRun, damage: ImageDamage): void => {
    this.bad.push(run);
    if (!this.isToldBefore) this.visitor.onUnreadable(run, damage);
  };

  async check({ block, count }: BlockRun): Promise<void> {
    for (let done = 0; done < count; done += batchBlocks) {
      const batch = Math.min(batchBlocks, count - done);
      this.checkBatch(block + done, batch);
      this.visitor.onBytes(batch * pageBytes);
      this.blocksOfTurn += batch;
      if (this.blocksOfTurn < blocksPerTurn) continue;
      this.blocksOfTurn = 0;
      await nextTurn();
    }
  }

  /** In ascending order, neighbours with the same problem joined. A block can have been found twice. */
  problems(): ProblemRun[] {
    const kinds: readonly BlockProblem[] = ["content", "surplus", "missing"];
    return kinds
      .flatMap((problem) => {
        return joinRuns(this.found.filter((run) => run.problem === problem)).map((run) => ({
          ...run,
          problem,
        }));
      })
      .sort((a, b) => a.block - b.block);
  }

  release(): void {
    this.core.release(this.contents);
    this.core.release(this.actual);
  }

  private checkBatch(block: number, count: number): void {
    try {
      this.chain.readBlocks(this.core.bytes(), this.contents, block, count);
    } catch (error) {
      if (!(error instanceof ImageDamage)) throw error;
      if (count === 1) this.unreadable({ block, count }, error);
      else for (let i = 0; i < count; i++) this.checkBatch(block + i, 1);
      return;
    }
    const { core, contents, actual, digests } = this;
    const isZero = core.raw.isZero(contents, count * pageBytes) === 1;
    if (!isZero) core.raw.pageDigests(contents, count, digests.keyPointer, actual);
    for (let i = 0; i < count; i++) {
      if (isZero && digests.isZero(block + i)) continue;
      if (isZero) core.bytes().set(digests.zero, actual + i * digestBytes);
      else if (digests.equals(block + i, core.bytes(), actual + i * digestBytes)) continue;
      this.mismatch(block + i, actual + i * digestBytes, contents + i * pageBytes);
    }
  }

  private mismatch(block: number, actual: number, content: number): void {
    const isEmpty = this.core.raw.isZero(content, pageBytes) === 1;
    const problem = isEmpty ? "missing" : this.digests.isZero(block) ? "surplus" : "content";
    const last = this.found.at(-1);
    appendBlock(this.bad, block);
    if (!this.isToldBefore) {
      if (last?.problem === problem && last.block + last.count === block) last.count++;
      else this.found.push({ block, count: 1, problem });
    }
    this.visitor.onMismatch(block, actual);
  }
}
