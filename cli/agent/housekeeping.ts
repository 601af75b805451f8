/** After a leg: short chains, and no more generations than the site is to keep. */

import { setTimeout as sleep } from "node:timers/promises";
import { compact, needsCompaction } from "../store/compaction.ts";
import { prune } from "../store/retention.ts";
import type { Agent } from "./agent.ts";
import type { ManagedVm } from "./managed-vm.ts";

const settleMs = 1000;

/** Shortens the newest generation's chain if it is long, then prunes. Leaves a VM alone that is busy again. */
export async function tidyGenerations(agent: Agent, vm: ManagedVm): Promise<void> {
  // A leg may follow at once; the next one tidies then.
  await sleep(settleMs);
  await vm.keepHouse(async () => {
    const { generations } = await vm.store.list();
    const newest = generations.at(-1);
    if (newest && needsCompaction(newest)) {
      await compact(agent.core, newest);
      agent.log.info({ vm: vm.name, generation: newest.manifest.generation }, "compacted a generation");
    }
    const removed = await prune(agent.core, vm.store, agent.config.keep);
    if (removed.length > 0) agent.log.info({ vm: vm.name, removed }, "pruned generations");
  });
}
