/** How old a peer's copy of a VM is, as far as this site knows. */

import { isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { Holders } from "../store/holders.ts";
import type { VmStore } from "../store/vm-store.ts";

/** Age in milliseconds of the newest state that a peer could restart; null if this site knows of none. */
export async function lagOf(store: VmStore, peer: string): Promise<number | null> {
  const held = await heldBy(store, peer);
  if (held === null || !isSeed(held)) return held && ageOf(held);
  // What the peer got before the seed, it keeps: a seed takes no other generation's place.
  const { generations } = await store.list();
  const before = generations.findLast(
    ({ manifest }) =>
      manifest.generation < held.generation &&
      !isSeed(manifest) &&
      (manifest.to === peer || manifest.from === peer),
  );
  return before ? ageOf(before.manifest) : null;
}

/** Age in milliseconds of the newest state that the next leg to a peer could build on; null if this site knows of none. */
export async function baseLagOf(store: VmStore, peer: string): Promise<number | null> {
  const held = await heldBy(store, peer);
  return held && ageOf(held);
}

async function heldBy(store: VmStore, peer: string): Promise<Manifest | null> {
  const held = (await new Holders(store.path).list()).get(peer);
  return (held && (await store.find(held))?.manifest) ?? null;
}

function ageOf({ createdAt }: Manifest): number {
  return Math.max(0, Date.now() - Date.parse(createdAt));
}
