/** After a leg: short chains, no more generations than the site is to keep, and the newest one checked. */

import { setTimeout as sleep } from "node:timers/promises";
import { compact, needsCompaction } from "../store/compaction.ts";
import { IntegrityLedger } from "../store/integrity.ts";
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
    let newest = generations.at(-1);
    const ledger = new IntegrityLedger(vm.store);
    if (newest && needsCompaction(newest)) {
      newest = await compact(agent.core, newest);
      await ledger.record(newest);
      agent.log.info({ vm: vm.name, generation: newest.manifest.generation }, "compacted a generation");
    }
    const removed = await prune(agent.core, vm.store, agent.config.keep);
    const key = await agent.keys.read(vm.name);
    const problem =
      newest && key ? await ledger.check(agent.core, key, newest, () => vm.activity === null) : null;
    if (problem) agent.log.error({ vm: vm.name, problem }, "a generation is damaged and was set aside");
    if (removed.length > 0) agent.log.info({ vm: vm.name, removed }, "pruned generations");
  });
}
