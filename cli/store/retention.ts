/** Which generations stay: the newest ones and everything that they stand on. */

import { fromHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { storeError } from "./atomic-file.ts";
import { chainOf, readDigests, type StoredGeneration } from "./generation-reader.ts";
import { Holders } from "./holders.ts";
import type { VmStore } from "./vm-store.ts";

/** Numbers of the generations that may go when the newest `keep` are to stay restartable. */
export function expendable(
  generations: readonly StoredGeneration[],
  keep: number,
  inUse: Iterable<number> = [],
): number[] {
  const needed = new Set<number>(inUse);
  for (const generation of generations.slice(-Math.max(1, keep))) {
    for (const level of chainOf(generation)) needed.add(level.manifest.generation);
  }
  return generations.map(({ manifest }) => manifest.generation).filter((number) => !needed.has(number));
}

/**
 * Removes what may go, newest first so that no chain is ever left with a hole. Digests of generations that
 * another site holds are kept. Returns the numbers removed.
 */
export async function prune(
  core: Core,
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
        await holders.keepDigests(
          core,
          { generation: number, root: manifest.root },
          { digests, deviceDigest },
        );
      }
      await store.remove(number);
    }
  } catch (error) {
    throw storeError(`Cannot prune generations of ${store.vm}`, error);
  }
  return removed;
}
