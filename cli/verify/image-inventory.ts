/** The folder of images as a whole: what the VM writes to, and what nothing needs. Reads no content. */

import { lstatSync, readdirSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { imageIdPattern, type Manifest } from "../../src/generation/manifest.ts";
import type { CurrentDisks, ImageDescriptor } from "../disk/image-store.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { orFinding } from "./damage.ts";
import type { FindingLog } from "./report.ts";
import { recordProblem, type VmImages } from "./vm-images.ts";

/** What names images: a manifest, or the record of a branch. */
type Naming = Pick<Manifest, "disks">;

/**
 * Checks `disks.json` and all descriptors of a VM, and takes note of files that nothing needs. A manifest or a record of
 * a branch that cannot be read is null.
 */
export async function checkImageFolder(
  log: FindingLog,
  images: VmImages,
  manifests: readonly (Naming | null)[],
  branches: readonly (Naming | null)[],
): Promise<void> {
  const { store } = images;
  const current = await readCurrent(log, images);
  if (!isFolder(log, store.path)) return;
  const needed = new Set<string>();
  const take = async (id: string): Promise<void> => {
    for (let next: string | null = id; next !== null && !needed.has(next); ) {
      needed.add(next);
      next = (await images.descriptor(next))?.backing ?? null;
    }
  };
  for (const manifest of manifests) for (const { image } of manifest?.disks ?? []) await take(image);
  for (const branch of branches) {
    for (const { image } of branch?.disks ?? []) {
      await take(image);
      await checkCurrent(images, image);
    }
  }
  for (const id of current?.aside ?? []) await take(id);
  for (const id of Object.values(current?.images ?? {})) {
    await take(id);
    await checkCurrent(images, id);
  }
  // While it is not known what is needed, nothing can be called unneeded.
  const isComplete = current !== null && [...manifests, ...branches].every((one) => one !== null);
  await noteLeftovers(log, images, isComplete ? needed : null);
}

/** Null if the record is damaged. */
async function readCurrent(log: FindingLog, { store }: VmImages): Promise<CurrentDisks | null> {
  const path = join(dirname(store.path), "disks.json");
  const problem = recordProblem(path);
  if (problem === null) return await orFinding(log, { path }, () => store.current());
  // A VM without disks has no record.
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return { format: 1, images: {}, aside: [] };
  log.add({ path, problem });
  return null;
}

function isFolder(log: FindingLog, path: string): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat?.isSymbolicLink()) log.add({ path, problem: "it is a symbolic link and was not followed" });
  return stat?.isDirectory() === true;
}

/** A VM may be writing to the image: only that its files are there can be checked. */
async function checkCurrent(images: VmImages, id: string): Promise<void> {
  const image = await images.descriptor(id);
  if (image === null) return;
  const path = images.store.pathOf(image);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  const { disk } = image;
  if (!stat) images.add({ path, disk, problem: "the file is missing" });
  else if (!isAbsolute(image.file) && stat.isSymbolicLink()) {
    images.add({ path, disk, problem: "it is a symbolic link and was not followed" });
  }
}

/** `needed` are ids of images; null if that is not known. */
async function noteLeftovers(
  log: FindingLog,
  images: VmImages,
  needed: ReadonlySet<string> | null,
): Promise<void> {
  const { path: folder } = images.store;
  const names = readdirSync(folder).sort();
  const kept = new Set<string>();
  const unneeded: string[] = [];
  for (const name of names) {
    const id = name.replace(/\.json$/, "");
    if (id === name || !imageIdPattern.test(id)) continue;
    const image = await images.descriptor(id);
    // What is wrong with it was said.
    if (image === null) kept.add(name);
    else if (needed === null || needed.has(id)) for (const one of filesOf(image)) kept.add(one);
    else unneeded.push(name);
  }
  for (const name of names) {
    const path = join(folder, name);
    if (name.startsWith(partialPrefix)) log.note(path, "left over by something interrupted");
    else if (lstatSync(path).isSymbolicLink()) {
      images.add({ path, problem: "it is a symbolic link and was not followed" });
    } else if (unneeded.includes(name)) log.note(path, "an image that nothing needs");
    else if (needed !== null && !kept.has(name)) log.note(path, "no image that is needed has this file");
  }
}

function filesOf({ id, file, digests }: ImageDescriptor): string[] {
  return [`${id}.json`, file, digests ?? file];
}
