/**
 * Checks the disks of a generation in two steps, since only the root says which digests are right, and the root covers
 * RAM too: `examine` looks at everything, `conclude` says what is wrong once it is known which tops give the root.
 */

import { bytesEqual } from "../../src/bytes.ts";
import type { BlockRun } from "../../src/disk/index.ts";
import { BlockDigests } from "../../src/generation/block-digests.ts";
import type { DiskTop } from "../../src/generation/digest-tree.ts";
import { blocksOf, type DiskShape } from "../../src/generation/disks.ts";
import type { Manifest, ManifestDisk } from "../../src/generation/manifest.ts";
import type { CheckedDisks, DiskChecks, DiskReplay, ExaminedDisks } from "../../src/verify/disk-checks.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import { type AboutDisk, reportContent, UnreadableBlocks } from "./block-findings.ts";
import { DigestFindings } from "./digest-findings.ts";
import { type DigestLayer, MemoryLayer } from "./digest-layer.ts";
import { bytesOf, type DigestEntry, disagreeingNodes, firstBlockOf } from "./digest-nodes.ts";
import { type ComparedBelow, type ContentComparison, checkTables, compareContent } from "./disk-content.ts";
import type { DiskContext } from "./disk-context.ts";
import { ImageReplay } from "./disk-replay.ts";
import type { ImageFile } from "./image-file.ts";

/** Nodes that do not agree, or blocks with another digest, after which it is not tried to tell what is right. */
const maxRepairs = 1 << 16;
/** Memory for what is set right of one disk, beside the entries themselves. */
const cacheBytes = 2 << 20;
/** A disk that was checked, for generations that stand on it. */
export interface CheckedDisk extends DiskShape {
  /** Its images, newest first; null if they do not lead to the content. */
  readonly chain: readonly ImageDescriptor[] | null;
  /** Blocks whose stored digests are known to be damaged, in ascending order. */
  readonly wrongDigests: readonly BlockRun[];
  /** Its content is what the root says; in quick mode, nothing is known to be wrong with it. */
  readonly isGood: boolean;
}

/** The disks of a checked generation. */
class StoreDisks implements CheckedDisks {
  readonly disks: readonly CheckedDisk[];

  constructor(disks: readonly CheckedDisk[]) {
    this.disks = disks;
  }

  get areGood(): boolean {
    return this.disks.every(({ isGood }) => isGood);
  }
}

/** Checks disks whose images lie in a store. */
export class StoreDiskChecks implements DiskChecks {
  private readonly context: DiskContext;

  constructor(context: DiskContext) {
    this.context = context;
  }

  async examine({ disks, generation }: Manifest, onBytes: (bytes: number) => void): Promise<OpenDisks> {
    const examined: ExaminedDisk[] = [];
    try {
      for (const disk of disks) {
        const one = await ExaminedDisk.open(this.context, disk, generation);
        examined.push(one);
        await one.look(onBytes);
      }
      return new OpenDisks(this.context, generation, examined);
    } catch (error) {
      for (const disk of examined) disk.release();
      throw error;
    }
  }
}

/** The disks of a generation, open. */
class OpenDisks implements ExaminedDisks {
  readonly areLeftOut = false;
  private readonly context: DiskContext;
  private readonly generation: number;
  private readonly disks: readonly ExaminedDisk[];

  constructor(context: DiskContext, generation: number, disks: readonly ExaminedDisk[]) {
    this.context = context;
    this.generation = generation;
    this.disks = disks;
  }

  get haveTops(): boolean {
    return this.disks.every(({ digests }) => digests !== null);
  }

  findTops(givesRoot: (tops: readonly DiskTop[]) => boolean): readonly DiskTop[] | null {
    if (!this.haveTops) return null;
    const stored = this.disks.map((disk) => disk.storedTop());
    const found = this.disks.map((disk, i) => disk.contentTop() ?? stored[i]);
    const choices = [stored, found, ...stored.map((_, i) => stored.with(i, found[i]))];
    return choices.find(givesRoot) ?? null;
  }

  replay(base: CheckedDisks | null, tops: readonly DiskTop[] | null): DiskReplay {
    const bases = base instanceof StoreDisks ? base.disks : null;
    const { context, generation, disks } = this;
    return new ImageReplay(context, generation, disks, { bases, tops });
  }

  conclude(tops: readonly DiskTop[] | null): StoreDisks {
    return new StoreDisks(this.disks.map((disk, i) => disk.conclude(tops?.[i].top ?? null)));
  }

  release(): void {
    for (const disk of this.disks) disk.release();
  }
}

/** One disk of a generation, open. */
export class ExaminedDisk {
  readonly shape: DiskShape;
  readonly chain: readonly ImageDescriptor[] | null;
  /** As the files have them; null if these are not to be had. */
  readonly digests: BlockDigests | null;
  /** Files of the images, newest first; null if one cannot be used. */
  readonly files: readonly ImageFile[] | null;
  private readonly context: DiskContext;
  private readonly about: AboutDisk;
  private readonly layers: readonly DigestLayer[];
  /** The digests with those that contents have, and all nodes over them; null if too much differs. */
  private repaired: BlockDigests | null;
  private repairs = 0;
  private readonly disagreeing: DigestEntry[] = [];
  private comparison: ContentComparison | null = null;
  private isUnreadable = false;

  private constructor(
    context: DiskContext,
    about: AboutDisk,
    shape: DiskShape,
    chain: readonly ImageDescriptor[] | null,
  ) {
    const { core, key, images } = context;
    this.context = context;
    this.about = about;
    this.shape = shape;
    this.chain = chain;
    const layers = chain && images.openDigests(chain, shape, about.generation);
    this.files = chain && images.open(chain, shape, about.generation);
    this.layers = layers ?? [];
    const blocks = blocksOf(shape.lengthBytes);
    this.digests = layers && new BlockDigests(core, key, blocks, layers, { writable: false });
    this.repaired =
      layers && new BlockDigests(core, key, blocks, [new MemoryLayer(), ...layers], { cacheBytes });
  }

  static async open(context: DiskContext, disk: ManifestDisk, generation: number): Promise<ExaminedDisk> {
    const { name, lengthBytes, image } = disk;
    const shape = { name, lengthBytes };
    const chain = await context.images.chain(image, shape, generation);
    return new ExaminedDisk(context, { generation, disk: name }, shape, chain);
  }

  /** Checks nodes, tables and, unless it must be quick, contents. Only what has nothing to do with digests is added. */
  async look(onBytes: (bytes: number) => void): Promise<void> {
    const { core, images, quick } = this.context;
    this.checkNodes();
    const { files, digests } = this;
    if (files === null) return;
    const unreadable = new UnreadableBlocks(images, this.about);
    const onUnreadable: UnreadableBlocks["add"] = (run, damage) => {
      this.isUnreadable = true;
      unreadable.add(run, damage);
    };
    if (quick || digests === null) checkTables(files, this.shape.lengthBytes, onUnreadable);
    else {
      const below = this.comparedBelow(files);
      try {
        const disk = { images: files, lengthBytes: this.shape.lengthBytes, digests };
        this.comparison = await compareContent(core, disk, below, {
          onMismatch: (block, actual) => this.repair(block, core.bytes(), actual),
          onUnreadable,
          onBytes: (bytes) => {
            images.bytesRead += bytes;
            onBytes(bytes);
          },
        });
      } finally {
        below?.release();
      }
    }
    unreadable.end();
  }

  storedTop(): DiskTop {
    return { ...this.shape, top: (this.digests as BlockDigests).top() };
  }

  /** The top over what the contents have, where that differs or nodes do not agree; null if it is not known. */
  contentTop(): DiskTop | null {
    if (this.repaired === null || this.comparison === null || this.isUnreadable) return null;
    return { ...this.shape, top: this.repaired.top() };
  }

  /**
   * The digests that are most likely right; null if there are none. `top` is the one that gives the root, if that is
   * known.
   */
  likelyDigests(top: Uint8Array | undefined): BlockDigests | null {
    return this.isContentRight(top ?? this.digests?.top() ?? null) ? this.repaired : this.digests;
  }

  /** Adds the findings that depend on which digests are right. `top` is the one that gives the root. */
  conclude(top: Uint8Array | null): CheckedDisk {
    const { digests, files, comparison, chain, about, shape } = this;
    const { images, quick } = this.context;
    const isDamaged = this.disagreeing.length > 0;
    const isStored = top !== null && digests !== null && bytesEqual(top, digests.top());
    const isRight = this.isContentRight(top) && (isDamaged || !isStored);
    let wrongDigests: BlockRun[] = [];
    if (digests !== null) {
      const report = new DigestFindings(images, about, chain ?? [], this.layers, digests);
      if (isRight && this.repaired) wrongDigests = report.differences(this.repaired);
      else report.nodes(this.disagreeing);
    }
    if (!isRight && files && comparison) reportContent(images, about, files, comparison.problems);
    if (chain) images.examined.add(chain[0].id);
    if (comparison && !isDamaged && chain) images.compared.set(chain[0].id, { bad: comparison.bad });
    const isContentGood = isRight || (!isDamaged && comparison?.bad.length === 0);
    const isGood = digests !== null && files !== null && !this.isUnreadable && top !== null;
    return { ...shape, chain, wrongDigests, isGood: isGood && (quick ? !isDamaged : isContentGood) };
  }

  release(): void {
    this.digests?.release();
    this.repaired?.release();
    for (const one of [...this.layers, ...(this.files ?? [])]) one.close();
  }

  /** True if the contents, whatever the stored digests are, have the top that gives the root. */
  private isContentRight(top: Uint8Array | null): boolean {
    const found = this.contentTop();
    return top !== null && found !== null && bytesEqual(found.top, top);
  }

  private checkNodes(): void {
    const { digests } = this;
    if (digests === null) return;
    for (const entry of disagreeingNodes(this.context.core, digests)) {
      this.disagreeing.push(entry);
      // Set again, so that all nodes above it are computed again.
      const block = firstBlockOf(entry);
      this.repair(block, bytesOf(digests, { level: 0, entry: block }), 0);
      if (this.disagreeing.length === maxRepairs) break;
    }
  }

  private repair(block: number, digest: Uint8Array, at: number): void {
    if (this.repaired === null) return;
    if (++this.repairs > maxRepairs) {
      this.repaired.release();
      this.repaired = null;
      return;
    }
    this.repaired.set(block, digest, at);
  }

  /** The nearest image under the newest one that was compared before, if that can be relied on. */
  private comparedBelow(files: readonly ImageFile[]): (ComparedBelow & { release(): void }) | null {
    const { chain, layers, context } = this;
    if (chain === null || this.disagreeing.length > 0) return null;
    const level = chain.findIndex(({ id }, i) => i > 0 && context.images.compared.has(id));
    const compared = level > 0 ? context.images.compared.get(chain[level].id) : undefined;
    if (compared === undefined) return null;
    const blocks = blocksOf(this.shape.lengthBytes);
    const under = layers.slice(level);
    const digests = new BlockDigests(context.core, context.key, blocks, under, { writable: false });
    return { above: files.slice(0, level), digests, bad: compared.bad, release: () => digests.release() };
  }
}
