/**
 * States of a VM that are no part of its history: what a site had when it learned that another one had taken the VM
 * over. They are kept until an operator removes them.
 *
 *     STORE/<vm>/branches/<name>.json    what it is, and the images of its disks
 *     STORE/<vm>/branches/<name>/        memory and device state: a generation's files, complete by themselves;
 *                                        none if only the disks could be kept
 *
 * A name is the epoch that was lost and the site that has the VM: `3-b`.
 */

import { readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Core } from "../../src/core.ts";
import { diskLimits, isDiskName } from "../../src/generation/disks.ts";
import { decodeManifest, imageIdPattern, maxManifestBytes } from "../../src/generation/manifest.ts";
import { messageOf, OperationError } from "../errors.ts";
import { partialPrefix, syncDirectory, writeFileAtomically } from "./atomic-file.ts";
import { makeFolder, namesIn, removeFolder, removePartials } from "./folder.ts";
import type { StoredGeneration } from "./generation-reader.ts";
import { isValidName } from "./vm-name.ts";

/** Name of the folder in a VM's. */
export const branchesFolder = "branches";

/** Names of branches. */
export const branchNamePattern = /^\d{1,16}-[a-z0-9][a-z0-9._-]{0,62}$/;

const recordSchema = z.strictObject({
  format: z.literal(1),
  name: z.string().regex(branchNamePattern),
  vm: z.string().refine(isValidName),
  /** The epoch that this site lost, and who had a newer one. */
  epoch: z.int().nonnegative(),
  by: z.strictObject({ site: z.string().refine(isValidName), epoch: z.int().nonnegative() }),
  /** Generation that the VM here ran from; 0 if it was started here. */
  generation: z.int().nonnegative(),
  /** When the VM was stopped; ISO 8601, UTC. */
  createdAt: z.string().max(40),
  /** True if memory and device state are kept too. */
  memory: z.boolean(),
  disks: z.array(
    z.strictObject({
      name: z.string().refine(isDiskName),
      lengthBytes: z.int().positive().max(diskLimits.lengthBytes),
      image: z.string().regex(imageIdPattern),
    }),
  ),
  /** Why something is missing; null if nothing is. */
  problem: z.string().max(4096).nullable(),
});

/** What is known of a branch. */
export type BranchRecord = z.infer<typeof recordSchema>;

/** A branch as it lies in the store. */
export interface StoredBranch {
  readonly record: BranchRecord;
  /** Its memory and device state; null if they are not there. */
  readonly memory: StoredGeneration | null;
}

/** A file or folder that should be a branch and cannot be used, and why. */
export interface UnusableBranch {
  readonly path: string;
  readonly reason: string;
}

/** The branches of one VM in `STORE/<vm>/branches`. */
export class Branches {
  readonly path: string;
  private readonly vm: string;
  private readonly core: Core;

  constructor(core: Core, vmPath: string, vm: string) {
    this.core = core;
    this.vm = vm;
    this.path = join(vmPath, branchesFolder);
  }

  /** Makes the folder if it is missing. */
  async prepare(): Promise<void> {
    await makeFolder(this.path);
  }

  /** Branches by their names, and what is not usable. */
  async list(): Promise<{ branches: StoredBranch[]; unusable: UnusableBranch[] }> {
    const branches: StoredBranch[] = [];
    const unusable: UnusableBranch[] = [];
    for (const file of (await namesIn(this.path)).sort()) {
      if (!file.endsWith(".json") || file.startsWith(partialPrefix)) continue;
      const path = join(this.path, file);
      try {
        const record = await this.readRecord(path);
        if (`${record.name}.json` !== file) throw new OperationError("failed", `it is of ${record.name}`);
        const memory = record.memory ? await this.readMemory(record.name).catch(toReason) : null;
        if (typeof memory === "string") unusable.push({ path: join(this.path, record.name), reason: memory });
        branches.push({ record, memory: typeof memory === "string" ? null : memory });
      } catch (error) {
        unusable.push({ path, reason: messageOf(error) });
      }
    }
    return { branches, unusable };
  }

  /** The branch of that name, or null. */
  async find(name: string): Promise<StoredBranch | null> {
    return (await this.list()).branches.find(({ record }) => record.name === name) ?? null;
  }

  /** The memory under that name, also before the branch has its record. Throws OperationError or FormatError. */
  async readMemory(name: string): Promise<StoredGeneration> {
    const directory = join(this.path, name);
    const path = join(directory, "manifest.json");
    if ((await stat(path)).size > maxManifestBytes) throw new OperationError("failed", `${path} is too long`);
    const manifest = decodeManifest(this.core, await readFile(path));
    if (manifest.vm !== this.vm || manifest.base !== null) {
      throw new OperationError("failed", `${path} is not of a complete state of ${this.vm}`);
    }
    return { manifest, directory, below: [] };
  }

  /** Gives finished files of a state their name, durably. What was there under it was never completed. */
  async takeMemory(directory: string, name: string): Promise<void> {
    const final = join(this.path, name);
    await rm(final, { recursive: true, force: true });
    await rename(directory, final);
    await syncDirectory(this.path);
  }

  /** Puts a branch in force durably: from now on its images are kept. */
  async put(record: BranchRecord): Promise<void> {
    await this.prepare();
    await writeFileAtomically(
      join(this.path, `${record.name}.json`),
      `${JSON.stringify(recordSchema.parse(record))}\n`,
    );
  }

  /** Removes a branch durably; its images stay until the next sweep. */
  async remove(name: string): Promise<void> {
    // First out of force: files without a record mean nothing, a record without its files would be damage.
    await rm(join(this.path, `${name}.json`), { force: true });
    await syncDirectory(this.path);
    await removeFolder(join(this.path, name));
  }

  /** Images that branches name; null if a record cannot be read. */
  async namedImages(): Promise<Set<string> | null> {
    const named = new Set<string>();
    for (const file of await namesIn(this.path)) {
      if (!file.endsWith(".json") || file.startsWith(partialPrefix)) continue;
      const record = await this.readRecord(join(this.path, file)).catch(() => null);
      if (record === null) return null;
      for (const { image } of record.disks) named.add(image);
    }
    return named;
  }

  /** Removes what was never completed, but not memory under the name `kept`. Returns the number of files and folders. */
  async sweep(kept: string | null): Promise<number> {
    let removed = await removePartials(this.path);
    const names = await namesIn(this.path);
    for (const name of names) {
      const isMemory = branchNamePattern.test(name) && !name.endsWith(".json");
      if (!isMemory || name === kept || names.includes(`${name}.json`)) continue;
      await rm(join(this.path, name), { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  /** Bytes that the memory of a branch takes on the disk. */
  async bytesOf({ memory }: StoredBranch): Promise<number> {
    let total = 0;
    for (const name of memory === null ? [] : await namesIn(memory.directory)) {
      total += (await stat(join((memory as StoredGeneration).directory, name))).blocks * 512;
    }
    return total;
  }

  private async readRecord(path: string): Promise<BranchRecord> {
    let value: unknown;
    try {
      value = JSON.parse(await readFile(path, "utf8"));
    } catch {
      value = null;
    }
    const found = recordSchema.safeParse(value);
    if (found.success && found.data.vm === this.vm) return found.data;
    throw new OperationError(
      "failed",
      `Cannot use ${path}: it is not a valid record of a branch of ${this.vm}`,
    );
  }
}

function toReason(error: unknown): string {
  return messageOf(error);
}
