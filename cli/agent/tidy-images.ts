/** After a leg: images that no generation needs any more go, or are merged, so that a disk's chain stays short. */

import { chainNodes } from "../disk/block-nodes.ts";
import type { ImageDescriptor } from "../disk/image-store.ts";
import { type Merge, mergeImages, planMerge } from "../disk/merge.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { Agent } from "./agent.ts";
import { completeFrozenImages } from "./frozen-disks.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { startBlockHost } from "./vm-confinement.ts";

/** A chain with more images is merged even if a leg has to wait for it: else legs in quick order would let it grow. */
export const longChainImages = 24;

/** Images over one another, of the disk with most of them. */
export async function longestChain({ definition, store: { images } }: ManagedVm): Promise<number> {
  const { images: current } = await images.current();
  const lengths = definition.disks.map(async ({ id }) =>
    current[id] === undefined ? 0 : (await images.chain(current[id])).length,
  );
  return Math.max(0, ...(await Promise.all(lengths)));
}

/** Removes and merges images of a VM when nobody wants it. */
export function tidyInBackground(agent: Agent, vm: ManagedVm): void {
  const mayGoOn = () => vm.activity === null && !agent.ending.aborted;
  agent.background("Tidying images", () => vm.keepHouse(() => tidyImages(agent, vm, mayGoOn)));
}

/** Removes and merges images of a VM. Ends early when it may not go on. */
export async function tidyImages(agent: Agent, vm: ManagedVm, mayGoOn: () => boolean): Promise<void> {
  const key = await agent.keys.read(vm.name);
  const { state } = await agent.ownership.read(vm.name);
  // While a handover is in doubt QEMU has let go of its images, and may take them again at any moment.
  if (key === null || state === "released" || vm.definition.disks.length === 0) return;
  await completeFrozenImages(agent, vm, mayGoOn);
  await vm.store.images.forgetAside();
  await vm.store.sweepImages();
  for (const { id } of vm.definition.disks) {
    while (mayGoOn()) {
      const plan = await planFor(vm, id);
      if (plan === null || !(await carryOut(agent, vm, key, plan, mayGoOn))) break;
      await vm.store.sweepImages();
      agent.log.info({ vm: vm.name, disk: id, images: plan.merge.images.length }, "merged disk images");
    }
  }
}

interface Plan {
  readonly chain: readonly ImageDescriptor[];
  readonly merge: Merge;
}

async function planFor(vm: ManagedVm, disk: string): Promise<Plan | null> {
  const { images } = vm.store;
  const { generations } = await vm.store.list();
  const { images: current, aside } = await images.current();
  const newest = generations.at(-1)?.manifest.disks.find(({ name }) => name === disk)?.image;
  const top = vm.qemu === null ? (newest ?? current[disk]) : current[disk];
  if (top === undefined) return null;
  const named = await vm.store.namedImages();
  if (named === null) return null;
  for (const id of [...Object.values(current), ...aside]) named.add(id);
  const chain = await images.chain(top);
  const merge = planMerge({ chain, named, all: (await images.list()).values() });
  return merge && { chain, merge };
}

/** Returns false if it was given up because it may not go on. */
async function carryOut(
  agent: Agent,
  vm: ManagedVm,
  key: Uint8Array,
  { chain, merge }: Plan,
  mayGoOn: () => boolean,
): Promise<boolean> {
  const { store, qemu } = vm;
  const isWanted = () => mayGoOn() || (chain.length > longChainImages && !agent.ending.aborted);
  const ledger = new IntegrityLedger(store);
  const { generations } = await store.list();
  const intact = [];
  for (const one of generations) if (await ledger.isUntouched(one)) intact.push(one);
  const run = (qmp: QmpClient) => mergeImages(agent.core, key, store.images, qmp, merge, isWanted);
  try {
    if (qemu !== null) return await run(qemu.qmp);
    const host = await startBlockHost(agent.config, vm);
    try {
      await host.open(chainNodes(store.images, chain, { writable: false, cache: "writeback" }));
      return await run(host.qmp);
    } finally {
      await host.close();
    }
  } finally {
    // The merge has touched files; what they say is as it was.
    for (const one of intact) await ledger.record(one);
  }
}
