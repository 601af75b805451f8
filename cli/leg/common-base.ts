/** Finds the newest state that both sites know of a VM: by content if it is here, by digests otherwise. */

import type { Core } from "../../src/core.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import type { Holders } from "../store/holders.ts";
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

/** Picks the base of a leg to a peer that holds `offered`. */
export async function findCommonBase(
  core: Core,
  store: VmStore,
  holders: Holders,
  offered: readonly GenerationId[],
): Promise<CommonBase> {
  const { generations } = await store.list();
  const byNewest = [...offered].sort((a, b) => b.generation - a.generation);
  for (const id of byNewest) {
    const here = generations.find(
      ({ manifest }) => manifest.generation === id.generation && manifest.root === id.root,
    );
    if (here) return { mode: "content", generation: here, digests: await readDigests(here) };
    const own = generations.at(-1);
    const known = own ? await holders.readDigests(core, id) : null;
    if (own && known)
      return { mode: "digests", id, digests: known.digests, own, ownDigests: await readDigests(own) };
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
