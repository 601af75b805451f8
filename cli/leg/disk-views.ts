/** What a leg knows of a disk before it reads it: digests here, digests and content at the peer, and where to look. */

import { rmSync } from "node:fs";
import type { Core } from "../../src/core.ts";
import type { BlockBase } from "../../src/delta/block-encoder.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { ImageChain } from "../../src/disk/index.ts";
import { BlockDigests, differingRuns } from "../../src/generation/block-digests.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { type OpenDigests, openContent, openDigestLayers, openDigests } from "../disk/image-content.ts";
import type { ImageDescriptor, ImageStore } from "../disk/image-store.ts";
import { OperationError } from "../errors.ts";
import { DigestFile } from "../store/digest-file.ts";
import { Holders } from "../store/holders.ts";
import type { CommonBase } from "./common-base.ts";

const windowBlocks = 64;

/** Content of a base's disk for the hot path: read ahead while blocks come in order. */
export class DiskWindow implements BlockBase {
  private readonly core: Core;
  private readonly content: ImageChain;
  private readonly window: number;
  private first = 0;
  private count = 0;

  constructor(core: Core, content: ImageChain) {
    this.core = core;
    this.content = content;
    this.window = core.allocate(windowBlocks * pageBytes);
  }

  baseBlock(block: number): number {
    if (block < this.first || block >= this.first + this.count) this.load(block);
    return this.window + (block - this.first) * pageBytes;
  }

  /** Gives its memory back to the core and closes the content. */
  release(): void {
    this.core.release(this.window);
    this.content.close();
  }

  private load(block: number): void {
    const isNext = block === this.first + this.count && this.count > 0;
    const count = Math.min(isNext ? windowBlocks : 1, this.content.blocks - block);
    // Forgotten first: a read that fails must not leave half of a window behind.
    this.count = 0;
    this.content.readBlocks(this.core.bytes(), this.window, block, count);
    this.first = block;
    this.count = count;
  }
}

/** Consecutive blocks. */
export interface Run {
  readonly block: number;
  readonly count: number;
}

/** One disk at the source. Close it whatever happens. */
export interface DiskViews {
  /** Digests of this site's image: those under it, and in a file of its own what this leg finds. */
  readonly own: BlockDigests;
  readonly ownFile: DigestFile;
  /** What the peer has; null: nothing. */
  readonly peer: BlockDigests | null;
  /** Content of what the peer has, if it is here. */
  readonly content: DiskWindow | null;
  /** Blocks that differ between what the peer has and what lies under this site's image. */
  readonly elsewhere: () => Iterable<Run>;
  close(): void;
}

/** Opens what is known. Throws OperationError. */
export async function openDiskViews(
  core: Core,
  key: Uint8Array,
  store: { readonly images: ImageStore; readonly path: string },
  legId: string,
  image: ImageDescriptor,
  base: CommonBase,
): Promise<DiskViews> {
  const { images } = store;
  const blocks = blocksOf(image.lengthBytes);
  const closers: (() => void)[] = [];
  const close = () => {
    for (const one of closers.splice(0).reverse()) one();
  };
  const adopt = (opened: OpenDigests): BlockDigests => {
    closers.push(() => opened.close());
    return opened.digests;
  };
  try {
    const layers = image.backing === null ? [] : await openDigestLayers(images, image.backing);
    closers.push(...layers.map((layer) => () => layer.close()));
    const ownFile = DigestFile.create(images.partialDigests(legId, image.id), blocks);
    closers.push(() => ownFile.close());
    const own = new BlockDigests(core, key, blocks, [ownFile, ...layers]);
    closers.push(() => own.release());
    const below = () => {
      if (image.backing === null) return null;
      const view = new BlockDigests(core, key, blocks, layers, { writable: false });
      closers.push(() => view.release());
      return view;
    };
    let peer: BlockDigests | null = null;
    let content: DiskWindow | null = null;
    if (base.mode === "content") {
      const held = heldImage(base, image.disk);
      if (held === null)
        throw new OperationError("failed", `Cannot compare disk ${image.disk}: the base has none`);
      peer = adopt(await openDigests(core, key, images, held));
      const window = new DiskWindow(core, await openContent(images, held));
      closers.push(() => window.release());
      content = window;
    } else if (base.mode === "digests") {
      const held = await new Holders(store.path).openDiskDigests(core, key, base.id, image.disk, blocks);
      if (held === null)
        throw new OperationError("failed", `Cannot compare disk ${image.disk}: its digests are not here`);
      peer = adopt(held);
    }
    const isUnderUs = base.mode === "content" && heldImage(base, image.disk) === image.backing;
    const elsewhere = (): Iterable<Run> => {
      const under = isUnderUs ? null : below();
      if (under !== null) return peer === null ? under.nonZeroRuns() : differingRuns(under, peer);
      return isUnderUs || peer === null ? [] : peer.nonZeroRuns();
    };
    return { own, ownFile, peer, content, elsewhere, close };
  } catch (error) {
    close();
    rmSync(images.partialDigests(legId, image.id), { force: true });
    throw error;
  }
}

function heldImage(base: CommonBase, disk: string): string | null {
  if (base.mode !== "content") return null;
  return base.generation.manifest.disks.find(({ name }) => name === disk)?.image ?? null;
}
