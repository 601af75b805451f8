/** After a leg: short chains, no more generations and images than the site is to keep, and the newest one checked. */

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import { compact, needsCompaction } from "../store/compaction.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import { keptGenerations, prune } from "../store/retention.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { longChainImages, longestChain, tidyImages } from "./tidy-images.ts";

const settleMs = 1000;
/** Waits before tidying that has failed is tried again, such as for an image that is in use. */
const retriesMs = [5_000, 30_000, 300_000];
/** Deltas over a complete image that a leg may find. */
export const longChainDeltas = 16;

/**
 * Tidies a VM that nobody wants, after the other VMs that are to be tidied. What is not done then, as a leg follows at
 * once, is done after that leg; what fails is tried again after a while. Rejects with the last failure.
 */
export async function tidyGenerations(
  agent: Agent,
  vm: ManagedVm,
  waits: readonly number[] = retriesMs,
): Promise<void> {
  await sleep(settleMs);
  for (let failures = 0; ; failures++) {
    try {
      await agent.afterOtherTidying(() =>
        vm.keepHouse(() => tidy(agent, vm, () => vm.activity === null && !agent.ending.aborted)),
      );
      return;
    } catch (error) {
      if (failures === waits.length) throw error;
      agent.log.warn({ vm: vm.name, reason: messageOf(error) }, "Tidying failed; it is tried again");
    }
    await sleep(waits[failures], undefined, { signal: agent.ending }).catch(() => {});
    if (agent.ending.aborted) return;
  }
}

/** Legs in quick order leave no time to tidy: before one whose chains have become long the VM is tidied first. */
export async function tidyIfOverdue(agent: Agent, vm: ManagedVm, signal: AbortSignal): Promise<void> {
  const deltas = (await vm.store.list()).generations.at(-1)?.below.length ?? 0;
  const images = await longestChain(vm);
  if (deltas <= longChainDeltas && images <= longChainImages) return;
  agent.log.info({ vm: vm.name, deltas, images }, "tidying before the leg: its chains have become long");
  // What it stands on changes.
  await vm.tracking.giveUp("tidying");
  try {
    await tidy(agent, vm, () => !agent.ending.aborted && !signal.aborted);
  } catch (error) {
    // Such as a full disk: a reason to let the VM move away rather than to keep it here.
    agent.log.warn({ vm: vm.name, reason: messageOf(error) }, "Tidying before the leg failed");
  }
}

/** Checks the newest generation, shortens chains that are long, prunes, then merges images; ends early when it may not go on. */
async function tidy(agent: Agent, vm: ManagedVm, mayGoOn: () => boolean): Promise<void> {
  const newest = (await vm.store.list()).generations.at(-1);
  if (newest && (await isIntact(agent, vm, newest, mayGoOn))) await shortenChains(agent, vm, newest, mayGoOn);
  const key = await agent.keys.read(vm.name);
  const removed = await prune(agent.core, key, vm.store, agent.config.keep);
  if (removed.length > 0) agent.log.info({ vm: vm.name, removed }, "pruned generations");
  await tidyImages(agent, vm, mayGoOn);
}

/**
 * Compacts the oldest generation that stays and has a long chain: the ones above it have short chains then, and what is
 * under it can go. Where many stay, one above it may have a long chain still, and is next.
 */
async function shortenChains(
  agent: Agent,
  vm: ManagedVm,
  newest: StoredGeneration,
  mayGoOn: () => boolean,
): Promise<void> {
  for (let compacted = -1; mayGoOn(); ) {
    const { generations } = await vm.store.list();
    const next = keptGenerations(generations, agent.config.keep).find(
      (one) => one.manifest.generation > compacted && needsCompaction(one),
    );
    if (next === undefined) return;
    compacted = next.manifest.generation;
    const isWhole = compacted === newest.manifest.generation || (await isIntact(agent, vm, next, mayGoOn));
    if (isWhole) await shorten(agent, vm, next, mayGoOn);
  }
}

/** Compacts a generation. What is in the way is told, and goes perhaps with the generations that are pruned next. */
async function shorten(
  agent: Agent,
  vm: ManagedVm,
  long: StoredGeneration,
  mayGoOn: () => boolean,
): Promise<void> {
  const about = { vm: vm.name, generation: long.manifest.generation };
  try {
    const compacted = await compact(agent.core, long, mayGoOn);
    if (compacted === long) return;
    await isIntact(agent, vm, compacted, mayGoOn);
    agent.log.info(about, "compacted a generation");
  } catch (error) {
    agent.log.warn({ ...about, reason: messageOf(error) }, "cannot compact a generation");
  }
}

/** Checks a generation against its digests; a damaged one is set aside. Ends early, as intact, when it may not go on. */
async function isIntact(
  agent: Agent,
  vm: ManagedVm,
  generation: StoredGeneration,
  mayGoOn: () => boolean,
): Promise<boolean> {
  const key = await agent.keys.read(vm.name);
  if (key === null) return true;
  const problem = await new IntegrityLedger(vm.store).check(agent.core, key, generation, mayGoOn, true);
  if (problem) agent.log.error({ vm: vm.name, problem }, "a generation is damaged and was set aside");
  return problem === null;
}
