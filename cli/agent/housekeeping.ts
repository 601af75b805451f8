/** After a leg: short chains, no more generations and images than the site is to keep, and the newest one checked. */

import { setTimeout as sleep } from "node:timers/promises";
import { compact, needsCompaction } from "../store/compaction.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import { prune } from "../store/retention.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm } from "./managed-vm.ts";
import { tidyImages } from "./tidy-images.ts";

const settleMs = 1000;

/** Checks the newest generation, shortens its chain if that is long, then prunes. Leaves a VM alone that is busy again. */
export async function tidyGenerations(agent: Agent, vm: ManagedVm): Promise<void> {
  // A leg may follow at once; the next one tidies then.
  await sleep(settleMs);
  await vm.keepHouse(async () => {
    const newest = (await vm.store.list()).generations.at(-1);
    if (newest && (await isIntact(agent, vm, newest)) && needsCompaction(newest)) {
      const compacted = await compact(agent.core, newest);
      await isIntact(agent, vm, compacted);
      agent.log.info({ vm: vm.name, generation: newest.manifest.generation }, "compacted a generation");
    }
    const key = await agent.keys.read(vm.name);
    const removed = await prune(agent.core, key, vm.store, agent.config.keep);
    if (removed.length > 0) agent.log.info({ vm: vm.name, removed }, "pruned generations");
    await tidyImages(agent, vm);
  });
}

/** Checks a generation against its digests; a damaged one is set aside. Ends early, as intact, when the VM is wanted. */
async function isIntact(agent: Agent, vm: ManagedVm, generation: StoredGeneration): Promise<boolean> {
  const key = await agent.keys.read(vm.name);
  if (key === null) return true;
  const isWanted = () => vm.activity === null && !agent.ending.aborted;
  const problem = await new IntegrityLedger(vm.store).check(agent.core, key, generation, isWanted, true);
  if (problem) agent.log.error({ vm: vm.name, problem }, "a generation is damaged and was set aside");
  return problem === null;
}
