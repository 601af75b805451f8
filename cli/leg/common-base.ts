/** Finds the newest state that both sites know of a VM: by content if it is here, by digests otherwise. */

import type { Core } from "../../src/core.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import { Holders } from "../store/holders.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { VmStore } from "../store/vm-store.ts";

/** What a leg is encoded against. */
export type CommonBase =
  | { readonly mode: "nothing" }
  | { readonly mode: "content"; readonly generation: StoredGeneration; readonly digests: Uint8Array }
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
  readonly warn: (message: string) => void;
}

/** Picks the base of a leg. What turns out to be damaged here is moved aside and not used. */
export async function findCommonBase(search: CommonBaseSearch): Promise<CommonBase> {
  const { core, key, store, offered, warn } = search;
  const holders = new Holders(store.path);
  const ledger = new IntegrityLedger(store);
  const isIntact = async (generation: StoredGeneration) => {
    const problem = await ledger.ensure(core, key, generation);
    if (problem)
      warn(
        `Generation ${generation.manifest.generation} of ${store.vm} is damaged and set aside: ${problem}`,
      );
    return problem === null;
  };
  const { generations } = await store.list();
  const byNewest = [...offered].sort((a, b) => b.generation - a.generation);
  for (const id of byNewest) {
    const here = generations.find(
      ({ manifest }) => manifest.generation === id.generation && manifest.root === id.root,
    );
    if (here && (await isIntact(here))) {
      return { mode: "content", generation: here, digests: await readDigests(here) };
    }
    const own = here ? undefined : generations.at(-1);
    const known = own ? await holders.readDigests(core, id) : null;
    if (!own || !known || !(await isIntact(own))) continue;
    const ownDigests = await readDigests(own);
    if (ownDigests.length === known.digests.length) {
      return { mode: "digests", id, digests: known.digests, own, ownDigests };
    }
  }
  return { mode: "nothing" };
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
