/** Which generations stay: the newest restartable ones, a seed that is newer, and everything that they stand on. */

import { fromHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { openDigests } from "../disk/image-content.ts";
import { storeError } from "./atomic-file.ts";
import { chainOf, readDigests, type StoredGeneration } from "./generation-reader.ts";
import { Holders } from "./holders.ts";
import { isRestartable } from "./restartable.ts";
import type { VmStore } from "./vm-store.ts";

async function keepDiskDigests(
  core: Core,
  key: Uint8Array,
  store: VmStore,
  holders: Holders,
  { manifest }: StoredGeneration,
): Promise<void> {
  for (const { name, image } of manifest.disks) {
    const opened = await openDigests(core, key, store.images, image);
    try {
      await holders.keepDiskDigests(core, key, manifest, name, opened.digests);
    } finally {
      opened.close();
    }
  }
}

/**
 * The generations that are kept for their own sake, oldest first: the newest `keep` that can be restarted, and the newest seed
 * if it is newer than these, since the next leg builds on it.
 */
export function keptGenerations(generations: readonly StoredGeneration[], keep: number): StoredGeneration[] {
  const kept = generations.filter(isRestartable).slice(-Math.max(1, keep));
  const newest = generations.at(-1);
  return newest === undefined || isRestartable(newest) ? kept : [...kept, newest];
}

/** Numbers of the generations that may go when the newest `keep` are to stay restartable. */
export function expendable(
  generations: readonly StoredGeneration[],
  keep: number,
  inUse: Iterable<number> = [],
): number[] {
  const needed = new Set<number>(inUse);
  for (const generation of keptGenerations(generations, keep)) {
    for (const level of chainOf(generation)) needed.add(level.manifest.generation);
  }
  return generations.map(({ manifest }) => manifest.generation).filter((number) => !needed.has(number));
}

/**
 * Removes what may go, newest first so that no chain is ever left with a hole. Digests of generations that
 * another site holds are kept; those of disks need the VM's key. Returns the numbers removed. Images stay: the
 * caller tidies them.
 */
export async function prune(
  core: Core,
  key: Uint8Array | null,
  store: VmStore,
  keep: number,
  inUse: Iterable<number> = [],
): Promise<number[]> {
  const { generations } = await store.list();
  const removed = expendable(generations, keep, inUse).sort((a, b) => b - a);
  const holders = new Holders(store.path);
  const held = new Set([...(await holders.list()).values()].map(({ root }) => root));
  try {
    for (const number of removed) {
      const generation = generations.find(
        ({ manifest }) => manifest.generation === number,
      ) as StoredGeneration;
      const { manifest } = generation;
      if (held.has(manifest.root)) {
        const digests = await readDigests(generation);
        const deviceDigest = fromHex(manifest.deviceDigest);
        const id = { generation: number, root: manifest.root };
        await holders.keepDigests(core, id, { digests, deviceDigest });
        if (key) await keepDiskDigests(core, key, store, holders, generation);
      }
      await store.remove(number);
    }
  } catch (error) {
    throw storeError(`Cannot prune generations of ${store.vm}`, error);
  }
  return removed;
}
