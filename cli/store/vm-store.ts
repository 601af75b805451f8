/** The part of the store that belongs to one VM: its generations, complete and left over. */

import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "../../src/core.ts";
import {
  decodeManifest,
  type GenerationId,
  type Manifest,
  maxManifestBytes,
} from "../../src/generation/manifest.ts";
import { ImageStore } from "../disk/image-store.ts";
import { messageOf, OperationError } from "../errors.ts";
import { partialPrefix } from "./atomic-file.ts";
import { Branches } from "./branches.ts";
import { readFenceMarker } from "./fence-marker.ts";
import { makeFolder, namesIn, removeFolder, removePartials } from "./folder.ts";
import type { StoredGeneration } from "./generation-reader.ts";
import { holdersFolder } from "./holders.ts";

/** A folder under `generations/` that cannot be used, and why. */
export interface UnusableGeneration {
  readonly directory: string;
  readonly reason: string;
}

/** Generations of one VM in `STORE/<vm>/generations`. */
export class VmStore {
  readonly vm: string;
  readonly path: string;
  readonly generationsPath: string;
  /** Images of the VM's disks. */
  readonly images: ImageStore;
  /** States that are no part of the VM's history. */
  readonly branches: Branches;
  private readonly core: Core;

  constructor(core: Core, storePath: string, vm: string) {
    this.core = core;
    this.vm = vm;
    this.path = join(storePath, vm);
    this.generationsPath = join(this.path, "generations");
    this.images = new ImageStore(this.path);
    this.branches = new Branches(core, this.path, vm);
  }

  /** Makes the folders durably if they are missing. */
  async prepare(): Promise<void> {
    await makeFolder(this.path);
    await makeFolder(this.generationsPath);
    await this.images.prepare();
  }

  /** Complete generations, oldest first, and the folders that are not usable. Partial folders are neither. */
  async list(): Promise<{ generations: StoredGeneration[]; unusable: UnusableGeneration[] }> {
    const manifests = new Map<number, { manifest: Manifest; directory: string }>();
    const unusable: UnusableGeneration[] = [];
    for (const name of await namesIn(this.generationsPath)) {
      if (name.startsWith(partialPrefix)) continue;
      const directory = join(this.generationsPath, name);
      try {
        const manifest = await readManifest(this.core, directory);
        if (String(manifest.generation) !== name || manifest.vm !== this.vm) {
          throw new OperationError(
            "failed",
            `its manifest is of generation ${manifest.generation} of ${manifest.vm}`,
          );
        }
        manifests.set(manifest.generation, { manifest, directory });
      } catch (error) {
        unusable.push({ directory, reason: messageOf(error) });
      }
    }
    const generations: StoredGeneration[] = [];
    for (const number of [...manifests.keys()].sort((a, b) => a - b)) {
      const found = manifests.get(number) as { manifest: Manifest; directory: string };
      const below = chainBelow(found.manifest, generations);
      if (below) generations.push({ ...found, below });
      else {
        const { base } = found.manifest;
        unusable.push({
          directory: found.directory,
          reason: `its base, generation ${base?.generation}, is not here`,
        });
      }
    }
    return { generations, unusable };
  }

  /** The generation with this number and root, or null. */
  async find(id: GenerationId): Promise<StoredGeneration | null> {
    const { generations } = await this.list();
    return (
      generations.find(
        ({ manifest }) => manifest.generation === id.generation && manifest.root === id.root,
      ) ?? null
    );
  }

  /** Removes one generation durably. The caller makes sure that nothing stands on it. */
  async remove(generation: number): Promise<void> {
    await removeFolder(join(this.generationsPath, String(generation)));
  }

  /** Removes what was never completed: legs, compactions, writes. Returns the number of files and folders. */
  async sweep(): Promise<number> {
    let removed = 0;
    const { generations } = await this.list();
    const folders = generations.map(({ directory }) => directory);
    for (const folder of [this.path, this.generationsPath, join(this.path, holdersFolder), ...folders]) {
      removed += await removePartials(folder);
    }
    for (const { manifest, directory } of generations) {
      // A compaction replaces the manifest first.
      if (manifest.files.delta !== undefined || !(await namesIn(directory)).includes("delta")) continue;
      await rm(join(directory, "delta"), { force: true });
      removed++;
    }
    const fencing = await readFenceMarker(this.path);
    removed += await this.branches.sweep(fencing?.branch ?? null);
    return removed + (await this.sweepImages());
  }

  /** Images that a generation, also one that was set aside, or a branch names; null if a manifest cannot be read. */
  async namedImages(): Promise<Set<string> | null> {
    const named = await this.branches.namedImages();
    if (named === null) return null;
    for (const name of await namesIn(this.generationsPath)) {
      if (name.startsWith(partialPrefix)) continue;
      const manifest = await readManifest(this.core, join(this.generationsPath, name)).catch(() => null);
      if (manifest === null) return null;
      for (const { image } of manifest.disks) named.add(image);
    }
    return named;
  }

  /**
   * Removes images that nothing needs any more. While a manifest cannot be read nothing is removed: what it names may
   * still be wanted. Returns the number of files.
   */
  async sweepImages(): Promise<number> {
    const named = await this.namedImages();
    return named === null ? 0 : await this.images.sweep(named);
  }
}

/** Reads a generation's manifest from its folder. Throws OperationError or FormatError. */
export async function readManifest(core: Core, directory: string): Promise<Manifest> {
  const path = join(directory, "manifest.json");
  const { size } = await stat(path);
  if (size > maxManifestBytes)
    throw new OperationError("failed", `Cannot use ${path}: ${size} bytes are too many`);
  return decodeManifest(core, await readFile(path));
}

/** Bytes that the files of a generation take on the disk, with the images that hold its disks, without those under them. */
export async function diskBytesOf(store: VmStore, generation: StoredGeneration): Promise<number> {
  let total = 0;
  for (const { image } of generation.manifest.disks) {
    const descriptor = await store.images.read(image).catch(() => null);
    if (descriptor) total += await store.images.bytesOf(descriptor);
  }
  for (const name of await namesIn(generation.directory)) {
    total += (await stat(join(generation.directory, name))).blocks * 512;
  }
  return total;
}

function chainBelow(manifest: Manifest, older: readonly StoredGeneration[]): StoredGeneration[] | null {
  const { base } = manifest;
  if (base === null) return [];
  const found = older.find(
    (candidate) => candidate.manifest.generation === base.generation && candidate.manifest.root === base.root,
  );
  return found ? [found, ...found.below] : null;
}
