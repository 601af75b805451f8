/** Before a VM runs here again whose QEMU is gone: other sites may have taken it over meanwhile. */

import { OperationError } from "../errors.ts";
import type { Agent } from "./agent.ts";
import { askPeers, findOverruling, heardOf, type PeerAnswer } from "./claims.ts";
import { fenceNow } from "./fencing.ts";
import type { ManagedVm } from "./managed-vm.ts";

/**
 * Asks the peers that a VM concerns whether one of them has taken it over; then it is fenced. For a caller that does
 * something with the VM already. Returns what they said. Throws OperationError "refused".
 */
export async function requireUncontested(
  agent: Agent,
  vm: ManagedVm,
  what: string,
  given?: readonly PeerAnswer[],
): Promise<readonly PeerAnswer[]> {
  const answers = given ?? (await askPeers(agent, vm));
  const by = await findOverruling(agent, vm, answers);
  const fenced = by && (await fenceNow(agent, vm, by));
  if (!by || !fenced) return answers;
  const { branch } = fenced;
  throw new OperationError(
    "refused",
    `Cannot ${what} ${vm.name} here: ${by.site} has taken it over (epoch ${by.epoch}); ` +
      `${branch ? `what was newer here is kept as branch ${branch.name}` : "nothing newer was here"}; ` +
      `see 'bfmig doctor ${vm.name}'`,
  );
}

/** The same for a VM that was perhaps never here: nobody else may say that it has it. Returns a warning or null. */
export async function requireUnclaimed(
  agent: Agent,
  vm: ManagedVm,
  what: string,
  given?: readonly PeerAnswer[],
): Promise<string | null> {
  const { state } = await agent.ownership.read(vm.name);
  if (state !== "owned" && state !== "none") return null;
  const answers = await requireUncontested(agent, vm, what, given);
  const owner = heardOf(agent, vm, answers).find((claim) => claim.state === "owned");
  if (state === "none" && owner) {
    throw new OperationError(
      "refused",
      `Cannot ${what} ${vm.name} here: ${owner.site} says that it has it (epoch ${owner.epoch}); migrate it from there`,
    );
  }
  return unaskedWarning(answers);
}

/** Says which peers could not be asked; null if all could. */
export function unaskedWarning(answers: readonly PeerAnswer[]): string | null {
  const silent = answers.filter(({ claims }) => claims === null).map(({ site }) => site);
  if (silent.length === 0) return null;
  return `${silent.join(", ")} could not be asked whether the VM was recovered there by force`;
}
