/** Finds the newest state that both sites know of a VM: by content if it is here, by digests otherwise. */

import type { Core } from "../../src/core.ts";
import { blocksOf, type DiskShape, diskDifference } from "../../src/generation/disks.ts";
import { type GenerationId, isSeed } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { readDeviceState, readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import { Holders } from "../store/holders.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { VmStore } from "../store/vm-store.ts";

/** What a leg is encoded against. */
export type CommonBase =
  | { readonly mode: "nothing" }
  | {
      readonly mode: "content";
      readonly generation: StoredGeneration;
      readonly digests: Uint8Array;
      /** Its device state, where the peer is told what differs from it. */
      readonly device?: Uint8Array;
    }
  | {
      readonly mode: "digests";
      readonly id: GenerationId;
      /** Digests of what the peer holds. */
      readonly digests: Uint8Array;
      /** What this site's own copy stands on, and its digests. */
      readonly own: StoredGeneration;
      readonly ownDigests: Uint8Array;
    };

/** What is needed to look for a common base. */
export interface CommonBaseSearch {
  readonly core: Core;
  /** The VM's digest key. */
  readonly key: Uint8Array;
  readonly store: VmStore;
  /** What the peer holds. */
  readonly offered: readonly GenerationId[];
  /** The disks that the VM has now. */
  readonly disks: readonly DiskShape[];
  readonly warn: (message: string) => void;
  /** The generation to take if both have it, though there may be newer ones: the VM was compared with it already. */
  readonly preferred?: GenerationId | null;
}

/** Picks the base of a leg. What turns out to be damaged here is moved aside and not used. */
export async function findCommonBase(search: CommonBaseSearch): Promise<CommonBase> {
  const { core, key, store, offered, warn } = search;
  const holders = new Holders(store.path);
  const ledger = new IntegrityLedger(store);
  let { generations } = await store.list();
  const isIntact = async (generation: StoredGeneration) => {
    const problem = await ledger.ensure(core, key, generation);
    if (problem === null) return true;
    const { generation: number } = generation.manifest;
    warn(`Generation ${number} of ${store.vm} is damaged and set aside: ${problem}`);
    generations = (await store.list()).generations;
    return false;
  };
  const newestIntact = async () => {
    let newest = generations.at(-1);
    while (newest && !(await isIntact(newest))) newest = generations.at(-1);
    return newest ?? null;
  };
  const isPreferred = (id: GenerationId) =>
    id.generation === search.preferred?.generation && id.root === search.preferred.root ? 1 : 0;
  const byNewest = [...offered].sort(
    (a, b) => isPreferred(b) - isPreferred(a) || b.generation - a.generation,
  );
  for (const id of byNewest) {
    const here = generations.find(
      ({ manifest }) => manifest.generation === id.generation && manifest.root === id.root,
    );
    if (here && !haveSameDisks(search, here)) continue;
    if (here && (await isIntact(here))) {
      const device = isSeed(here.manifest) ? null : await readDeviceState(core, here);
      return {
        mode: "content",
        generation: here,
        digests: await readDigests(here),
        ...(device && { device }),
      };
    }
    const known = here || generations.length === 0 ? null : await holders.readDigests(core, id);
    const own = known && (await newestIntact());
    if (!own) continue;
    const ownDigests = await readDigests(own);
    if (!haveSameDisks(search, own)) continue;
    if (!(await hasDiskDigests(search, holders, id))) continue;
    if (ownDigests.length === known.digests.length) {
      return { mode: "digests", id, digests: known.digests, own, ownDigests };
    }
  }
  return { mode: "nothing" };
}

/** True if the digests of all disks of a generation that only the peer has are here, and whole. */
async function hasDiskDigests(
  { core, key, disks }: CommonBaseSearch,
  holders: Holders,
  id: GenerationId,
): Promise<boolean> {
  for (const { name, lengthBytes } of disks) {
    const found = await holders.openDiskDigests(core, key, id, name, blocksOf(lengthBytes));
    if (found === null) return false;
    found.close();
  }
  return true;
}

/** Throws OperationError if a disk was resized; false, with a warning, if disks were added or taken away. */
function haveSameDisks({ disks, store, warn }: CommonBaseSearch, { manifest }: StoredGeneration): boolean {
  for (const { name, lengthBytes } of disks) {
    const before = manifest.disks.find((disk) => disk.name === name);
    if (before && before.lengthBytes !== lengthBytes) {
      throw new OperationError(
        "aborted",
        `Cannot migrate ${store.vm}: disk ${name} was resized from ${before.lengthBytes} to ${lengthBytes} bytes since ` +
          `generation ${manifest.generation}; a disk keeps its size while generations of it are retained`,
      );
    }
  }
  const difference = diskDifference(manifest.disks, disks);
  if (difference) warn(`Generation ${manifest.generation} of ${store.vm} cannot be built on: ${difference}`);
  return difference === null;
}

/** The generation that the peer is told to build on; null for a first leg. */
export function baseIdOf(base: CommonBase): GenerationId | null {
  if (base.mode === "nothing") return null;
  if (base.mode === "digests") return base.id;
  const { generation, root } = base.generation.manifest;
  return { generation, root };
}

/** The generation that this site's own copy of the new one stands on; null if it is a complete image. */
export function ownBaseOf(base: CommonBase): StoredGeneration | null {
  if (base.mode === "nothing") return null;
  return base.mode === "content" ? base.generation : base.own;
}
