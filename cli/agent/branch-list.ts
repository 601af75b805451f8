/** What operators see of branches, and their removal. */

import { OperationError } from "../errors.ts";
import type { UnusableBranch } from "../store/branches.ts";
import type { VmStore } from "../store/vm-store.ts";
import { ageOf } from "./recover-words.ts";

/** A branch as `generations` and `doctor` tell it. */
export interface BranchLine {
  readonly name: string;
  /** The epoch that this site lost. */
  readonly epoch: number;
  /** Who had a newer one, and which. */
  readonly by: { readonly site: string; readonly epoch: number };
  readonly createdAt: string;
  readonly ageMs: number;
  /** Generation that the VM ran from. */
  readonly generation: number;
  /** True if it can be restarted with its memory. */
  readonly memory: boolean;
  readonly disks: readonly string[];
  /** What its memory, and the images of its disks without those under them, take. */
  readonly diskBytes: number;
  readonly problem: string | null;
}

/** The branches of a VM. */
export async function describeBranches(
  store: VmStore,
): Promise<{ branches: BranchLine[]; unusable: UnusableBranch[] }> {
  const { branches, unusable } = await store.branches.list();
  const lines = branches.map(async (branch) => {
    const { record, memory } = branch;
    const { name, epoch, by, createdAt, generation, problem } = record;
    let diskBytes = await store.branches.bytesOf(branch);
    for (const { image } of record.disks) {
      const descriptor = await store.images.read(image).catch(() => null);
      if (descriptor) diskBytes += await store.images.bytesOf(descriptor);
    }
    const disks = record.disks.map((disk) => disk.name);
    const ageMs = ageOf(createdAt);
    return {
      name,
      epoch,
      by,
      createdAt,
      ageMs,
      generation,
      memory: memory !== null,
      disks,
      diskBytes,
      problem,
    };
  });
  return { branches: await Promise.all(lines), unusable };
}

/** Removes a branch and the images that only it needed. Throws OperationError if there is none of that name. */
export async function removeBranch(store: VmStore, name: string): Promise<void> {
  if ((await store.branches.find(name)) === null) {
    const known =
      (await store.branches.list()).branches.map(({ record }) => record.name).join(", ") || "none";
    throw new OperationError(
      "failed",
      `Cannot remove branch ${JSON.stringify(name.slice(0, 80))} of ${store.vm}: it is not here; branches: ${known}`,
    );
  }
  await store.branches.remove(name);
  await store.sweepImages();
}
