/** Explains what a store knows of disks: `disks.json`, an image's descriptor, and the digests of an image. */

import { lstatSync } from "node:fs";
import { basename, dirname } from "node:path";
import { digestLevels, windowBytes } from "../../src/generation/block-digest-layout.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { imageIdPattern } from "../../src/generation/manifest.ts";
import { type CurrentDisks, type ImageDescriptor, ImageStore } from "../disk/image-store.ts";
import { messageOf, OperationError } from "../errors.ts";
import { DigestLayer, presentEntries } from "../verify/digest-layer.ts";
import { recordProblem } from "../verify/vm-images.ts";

/** A file that a descriptor names. */
export interface NamedFile {
  readonly path: string;
  /** Null if it is not there. */
  readonly bytes: number | null;
  /** What the file system has for it. */
  readonly allocatedBytes: number | null;
}

/** A level of a file of digests, lowest first. */
export interface DigestLevelLine {
  readonly level: number;
  /** Position of its first entry in the file. */
  readonly offset: number;
  /** Digests or nodes that the disk has there. */
  readonly entries: number;
  /** Of these, how many the file itself has; others are those of the images below. */
  readonly present: number;
}

/** What such a file turned out to be. */
export type ImageRecordSummary =
  | { readonly kind: "current-disks"; readonly current: CurrentDisks }
  | {
      readonly kind: "image-descriptor";
      readonly descriptor: ImageDescriptor;
      readonly file: NamedFile;
      readonly digests: NamedFile | null;
      /** Ids of the images under it, nearest first; the last one may not be there. */
      readonly below: readonly string[];
    }
  | {
      readonly kind: "block-digests";
      readonly descriptor: ImageDescriptor;
      readonly bytes: number;
      readonly allocatedBytes: number;
      readonly levels: readonly DigestLevelLine[];
    };

/**
 * Explains the file if its name is that of such a file; null if it is not. Throws OperationError if it is damaged, or a
 * file of digests to which no descriptor beside it belongs.
 */
export async function inspectImageRecord(path: string): Promise<ImageRecordSummary | null> {
  const name = basename(path);
  if (name === "disks.json") {
    checkRecord(path);
    const current = await new ImageStore(dirname(path)).current().catch((error: unknown) => {
      throw new OperationError("failed", `Cannot inspect ${path}: ${messageOf(error)}`, { cause: error });
    });
    return { kind: "current-disks", current };
  }
  if (basename(dirname(path)) !== "images") return null;
  const images = new ImageStore(dirname(dirname(path)));
  if (name.endsWith(".digests")) return await inspectDigests(images, path);
  const id = name.replace(/\.json$/, "");
  if (id === name || !imageIdPattern.test(id)) return null;
  checkRecord(path);
  const descriptor = await images.read(id);
  return {
    kind: "image-descriptor",
    descriptor,
    file: fileAt(images.pathOf(descriptor)),
    digests: descriptor.digests === null ? null : fileAt(images.digestsPathOf(descriptor)),
    below: await idsBelow(images, descriptor),
  };
}

async function inspectDigests(images: ImageStore, path: string): Promise<ImageRecordSummary> {
  const all = [...(await images.list()).values()];
  const descriptor = all.find(({ digests }) => digests === basename(path));
  if (descriptor === undefined) {
    throw new OperationError(
      "usage",
      `Cannot inspect ${path}: no descriptor beside it names it, so the size of its disk is not known`,
    );
  }
  const blocks = blocksOf(descriptor.lengthBytes);
  const layer = new DigestLayer(path, blocks);
  try {
    const present = presentEntries(layer, blocks);
    const levels = digestLevels(blocks).map(({ entries, firstWindow }, level) => {
      return { level, offset: firstWindow * windowBytes, entries, present: present[level] };
    });
    const { size: bytes, allocatedBytes } = layer;
    return { kind: "block-digests", descriptor, bytes, allocatedBytes, levels };
  } finally {
    layer.close();
  }
}

async function idsBelow(images: ImageStore, { backing }: ImageDescriptor): Promise<string[]> {
  const all = await images.list();
  const ids: string[] = [];
  for (let id = backing; id !== null && !ids.includes(id); id = all.get(id)?.backing ?? null) ids.push(id);
  return ids;
}

function checkRecord(path: string): void {
  const problem = recordProblem(path);
  if (problem !== null) throw new OperationError("failed", `Cannot inspect ${path}: ${problem}`);
}

function fileAt(path: string): NamedFile {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return { path, bytes: stat?.size ?? null, allocatedBytes: stat ? stat.blocks * 512 : null };
}
