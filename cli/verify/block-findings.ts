/** Findings about blocks of a disk: neighbours are one finding, and a rotten file does not give millions. */

import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { BlockRun } from "../../src/disk/index.ts";
import { answersFor } from "./block-runs.ts";
import type { BlockProblem, ProblemRun } from "./disk-content.ts";
import { fileOffsetOf, type ImageDamage, type ImageFile } from "./image-file.ts";
import type { VmImages } from "./vm-images.ts";

/** Findings of one kind about one disk; what exceeds this is counted. */
const maxFindings = 64;

/** What findings have in common. */
export interface AboutDisk {
  readonly generation: number;
  readonly disk: string;
}

const problems: Readonly<Record<BlockProblem, string>> = {
  content: "the block's content does not have its digest",
  surplus: "the block has content, but its digest says that it is zero",
  missing: "the block is zero, but its digest says that it is not",
};

/** Adds findings of one kind. Call `end` after the last one. */
export class BlockFindings {
  private readonly images: VmImages;
  private readonly about: AboutDisk;
  private readonly problem: string;
  private reported = 0;
  private suppressedBlocks = 0;
  private lastPath = "";

  constructor(images: VmImages, about: AboutDisk, problem: string) {
    this.images = images;
    this.about = about;
    this.problem = problem;
  }

  /** `offset` tells where the run begins in the file; it is only asked while findings are listed. */
  add(path: string, { block, count }: BlockRun, offset: () => number | undefined = () => undefined): void {
    this.lastPath = path;
    if (this.reported === maxFindings) {
      this.suppressedBlocks += count;
      return;
    }
    this.reported++;
    const at = offset();
    this.images.add({
      path,
      ...this.about,
      block,
      blocks: count,
      diskOffset: block * pageBytes,
      ...(at === undefined ? {} : { offset: at }),
      problem: count === 1 ? this.problem : `${this.problem} (blocks ${block} to ${block + count - 1})`,
    });
  }

  end(): void {
    if (this.suppressedBlocks === 0) return;
    const problem = `${this.problem}: ${this.suppressedBlocks} more blocks, not listed one by one`;
    this.images.add({ path: this.lastPath, ...this.about, problem });
  }
}

/** Findings for blocks that do not have their digests: each names the file that the disk has the block from. */
export function reportContent(
  images: VmImages,
  about: AboutDisk,
  files: readonly ImageFile[],
  runs: readonly ProblemRun[],
): void {
  const findings = new Map<BlockProblem, BlockFindings>();
  for (const run of runs) {
    const { problem } = run;
    const found = findings.get(problem) ?? new BlockFindings(images, about, problems[problem]);
    findings.set(problem, found);
    let next = run.block;
    for (const { block, count, level } of joinLevels(answersFor(files, run))) {
      const first = Math.max(block, next);
      next = Math.max(next, block + count);
      const file = files[level];
      const part = { block: first, count: next - first };
      if (part.count > 0) found.add(file.path, part, () => fileOffsetOf(file, first * pageBytes));
    }
  }
  for (const found of findings.values()) found.end();
}

/** Findings for blocks that cannot be read. Neighbours that one file fails at in one way are one. */
export class UnreadableBlocks {
  private readonly images: VmImages;
  private readonly about: AboutDisk;
  private readonly findings = new Map<string, BlockFindings>();
  private readonly waiting = new Map<string, { run: BlockRun; damage: ImageDamage }>();

  constructor(images: VmImages, about: AboutDisk) {
    this.images = images;
    this.about = about;
  }

  add(run: BlockRun, damage: ImageDamage): void {
    // Positions and lengths differ from block to block.
    const kind = `${damage.path}\0${damage.message.replace(/\d+/g, "")}`;
    const last = this.waiting.get(kind);
    if (last && last.run.block + last.run.count === run.block) {
      this.waiting.set(kind, { ...last, run: { ...last.run, count: last.run.count + run.count } });
      return;
    }
    if (last) this.report(kind, last);
    this.waiting.set(kind, { run, damage });
  }

  end(): void {
    for (const [kind, one] of this.waiting) this.report(kind, one);
    for (const found of this.findings.values()) found.end();
  }

  private report(kind: string, { run, damage }: { run: BlockRun; damage: ImageDamage }): void {
    const problem = damage.message.replace(/ \(at byte \d+\)$/, "");
    let found = this.findings.get(kind);
    if (found === undefined) {
      found = new BlockFindings(this.images, this.about, problem);
      this.findings.set(kind, found);
    }
    found.add(damage.path, run, () => damage.offset);
  }
}

type LevelRun = BlockRun & { readonly level: number };

function* joinLevels(runs: Iterable<LevelRun>): Generator<LevelRun> {
  let joined: LevelRun | undefined;
  for (const run of runs) {
    if (joined?.level === run.level) joined = { ...joined, count: run.block + run.count - joined.block };
    else {
      if (joined) yield joined;
      joined = run;
    }
  }
  if (joined) yield joined;
}
