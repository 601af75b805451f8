/** The images of one VM as verification sees them: never through a symbolic link in the store, each problem told once. */

import { lstatSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import type { BlockRun } from "../../src/disk/index.ts";
import { FormatError } from "../../src/errors.ts";
import { blocksOf, type DiskShape } from "../../src/generation/disks.ts";
import { imageIdPattern } from "../../src/generation/manifest.ts";
import { type ImageDescriptor, ImageStore, maxChainImages } from "../disk/image-store.ts";
import { isDamage } from "./damage.ts";
import { DigestLayer, strayEntries } from "./digest-layer.ts";
import { type ImageFile, openImageFile, openProblem } from "./image-file.ts";
import type { FindingLog, VerifyFinding } from "./report.ts";

/** Longest descriptor, or record of current images, that is read. */
const maxRecordBytes = 1 << 16;
/** Entries without a node that are listed for one file. */
const maxStrays = 16;

/** What is known of an image that was compared with its digests. */
export interface ComparedImage {
  /** Blocks that are not what their digests say, in ascending order. */
  readonly bad: readonly BlockRun[];
}

/** Descriptors, files and digests of a VM's images. */
export class VmImages {
  readonly store: ImageStore;
  /** Images whose whole content was compared, by id; their digests' nodes agree. */
  readonly compared = new Map<string, ComparedImage>();
  /** Images of generations whose disks were checked, by id. */
  readonly examined = new Set<string>();
  /** Entries of digest files that are known to be damaged: path and position. */
  readonly damagedEntries = new Set<string>();
  /** Bytes of disks that were read and compared. */
  bytesRead = 0;
  private readonly log: FindingLog;
  private readonly descriptors = new Map<string, Promise<ImageDescriptor | null>>();
  private readonly told = new Set<string>();
  private readonly scanned = new Set<string>();
  private folder: boolean | null = null;

  constructor(log: FindingLog, vmPath: string) {
    this.log = log;
    this.store = new ImageStore(vmPath);
  }

  /** Adds a finding unless the same was found for another generation. */
  add(finding: VerifyFinding): void {
    const { path, problem, disk, block, offset } = finding;
    const what = JSON.stringify([path, problem, block === undefined ? null : disk, block, offset]);
    if (this.told.has(what)) return;
    this.told.add(what);
    this.log.add(finding);
  }

  /** An image and those under it, newest first; null, with a finding, if they do not lead to the disk's content. */
  async chain(id: string, disk: DiskShape, generation?: number): Promise<ImageDescriptor[] | null> {
    const chain: ImageDescriptor[] = [];
    for (let next: string | null = id; next !== null; ) {
      const image: ImageDescriptor | null = await this.descriptor(next, generation);
      if (image === null) return null;
      const problem = chainProblem(image, disk, chain.length);
      if (problem !== null) {
        this.add({ path: this.pathOfDescriptor(next), ...named(generation), disk: disk.name, problem });
        return null;
      }
      chain.push(image);
      next = image.backing;
    }
    return chain;
  }

  /** A descriptor; null, with a finding, if it cannot be used. */
  async descriptor(id: string, generation?: number): Promise<ImageDescriptor | null> {
    let found = this.descriptors.get(id);
    if (found === undefined) {
      found = this.readDescriptor(id, generation);
      this.descriptors.set(id, found);
    }
    return await found;
  }

  /** Opens all files of a chain, newest first; null, with findings, if one cannot be used. Close them. */
  open(chain: readonly ImageDescriptor[], disk: DiskShape, generation: number): ImageFile[] | null {
    const opened: ImageFile[] = [];
    let isWhole = true;
    for (const image of chain) {
      const isOwn = !isAbsolute(image.file);
      const about = { generation, disk: disk.name };
      const file = this.openOne(this.store.pathOf(image), about, (path) =>
        openImageFile(path, image.imageFormat, isOwn),
      );
      isWhole &&= file !== null;
      if (file === null) continue;
      opened.push(file);
      if (file.lengthBytes !== image.lengthBytes) {
        const problem = `its disk has ${file.lengthBytes} bytes, ${image.lengthBytes} expected`;
        this.add({ path: file.path, ...about, problem });
        isWhole = false;
      }
      if (!isOwn) isWhole = this.openBelow(file, about, opened) && isWhole;
    }
    if (isWhole) return opened;
    for (const file of opened) file.close();
    return null;
  }

  /** Opens the digests of a chain, newest first; null, with findings, if one cannot be used. Close them. */
  openDigests(chain: readonly ImageDescriptor[], disk: DiskShape, generation: number): DigestLayer[] | null {
    const blocks = blocksOf(disk.lengthBytes);
    const about = { generation, disk: disk.name };
    const layers: DigestLayer[] = [];
    for (const image of chain) {
      if (image.digests === null) {
        this.add({ path: this.pathOfDescriptor(image.id), ...about, problem: "it names no digests" });
        continue;
      }
      const path = this.store.digestsPathOf(image);
      const layer = this.openOne(path, about, () => new DigestLayer(path, blocks));
      if (layer === null) continue;
      layers.push(layer);
      this.findStrays(layer, about, blocks);
    }
    if (layers.length === chain.length) return layers;
    for (const layer of layers) layer.close();
    return null;
  }

  pathOfDescriptor(id: string): string {
    return join(this.store.path, `${id}.json`);
  }

  private async readDescriptor(id: string, generation?: number): Promise<ImageDescriptor | null> {
    const path = this.pathOfDescriptor(id);
    const problem =
      this.folderProblem() ?? (imageIdPattern.test(id) ? recordProblem(path) : "it is no image's name");
    if (problem === null) {
      const image = await this.store.read(id).catch((error: unknown) => {
        if (!isDamage(error)) throw error;
        return null;
      });
      if (image !== null) return image;
    }
    this.add({ path, ...named(generation), problem: problem ?? "it is not a valid descriptor of an image" });
    return null;
  }

  private folderProblem(): string | null {
    this.folder ??= lstatSync(this.store.path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
    return this.folder ? "it is in a folder that is a symbolic link, which was not followed" : null;
  }

  private openOne<T>(
    path: string,
    about: { generation: number; disk: string },
    open: (path: string) => T,
  ): T | null {
    try {
      return open(path);
    } catch (error) {
      if (!isDamage(error)) throw error;
      const offset =
        error instanceof FormatError && error.offset !== undefined ? { offset: error.offset } : {};
      this.add({ path, ...about, ...offset, problem: openProblem(error) });
      return null;
    }
  }

  /** The files under one that the operator gave, by their headers. False, with a finding, if one cannot be used. */
  private openBelow(
    top: ImageFile,
    about: { generation: number; disk: string },
    opened: ImageFile[],
  ): boolean {
    for (let file = top; file.backing !== null; ) {
      const { file: name, format } = file.backing;
      const problem = /^[a-z+]+:/.test(name)
        ? `it stands on ${name}, which is not a file`
        : format === null
          ? `it does not say the format of ${name}, on which it stands`
          : opened.length >= maxChainImages
            ? `more than ${maxChainImages} images lie over one another`
            : null;
      if (problem !== null || format === null) {
        this.add({ path: file.path, ...about, problem: problem ?? "" });
        return false;
      }
      const path = resolve(dirname(file.path), name);
      const below = this.openOne(path, about, () => openImageFile(path, format, false));
      if (below === null) return false;
      opened.push(below);
      file = below;
    }
    return true;
  }

  private findStrays(layer: DigestLayer, about: { generation: number; disk: string }, blocks: number): void {
    if (this.scanned.has(layer.path)) return;
    this.scanned.add(layer.path);
    let found = 0;
    for (const offset of strayEntries(layer, blocks)) {
      const { path } = layer;
      if (++found > maxStrays) {
        this.add({
          path,
          ...about,
          problem: "it has more entries that no node covers, not listed one by one",
        });
        return;
      }
      this.add({ path, ...about, offset, problem: "it has an entry that no node covers" });
    }
  }
}

/** What is wrong with a file before it is read; null if nothing is. */
export function recordProblem(path: string): string | null {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return "the file is missing";
  if (stat.isSymbolicLink()) return "it is a symbolic link and was not followed";
  if (!stat.isFile()) return "it is not a regular file";
  return stat.size > maxRecordBytes ? `it has ${stat.size} bytes, too many` : null;
}

function chainProblem(image: ImageDescriptor, disk: DiskShape, depth: number): string | null {
  if (image.disk !== disk.name) return `it is an image of disk ${image.disk}`;
  if (image.lengthBytes !== disk.lengthBytes) {
    return `it is of a disk of ${image.lengthBytes} bytes, ${disk.lengthBytes} expected`;
  }
  return depth === maxChainImages ? `more than ${maxChainImages} images lie over one another` : null;
}

function named(generation: number | undefined): { generation?: number } {
  return generation === undefined ? {} : { generation };
}
