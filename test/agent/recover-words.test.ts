import t from "tap";
import type { HeardClaim } from "../../cli/agent/claims.ts";
import type { ManagedVm } from "../../cli/agent/managed-vm.ts";
import { lossOf, refusal } from "../../cli/agent/recover-words.ts";
import type { OwnershipRecord } from "../../cli/store/ownership.ts";

const vm = { name: "web1", qemu: null } as ManagedVm;
const chosen = { branch: null, state: null };

function hearsay(state: OwnershipRecord["state"], peer: string, heard: readonly Partial<HeardClaim>[] = []) {
  const record = { format: 1, vm: "web1", state, epoch: 0, generation: 0, peer, refusedEpoch: 0 };
  return { record: record as OwnershipRecord, answers: [], heard: heard as HeardClaim[] };
}

for (const [what, known, why, advice] of [
  ["a VM that no site owns", hearsay("none", ""), /here: no site is known to own it;/, /runs nowhere else/],
  ["one that a peer has", hearsay("away", "b"), /here: b has it;/, /fence b /],
  ["one in doubt", hearsay("released", "b"), /here: its handover to b is in doubt;/, /fence b /],
  [
    "one that a site says it has",
    hearsay("none", "", [{ site: "c", state: "owned", epoch: 4 }]),
    /here: c has it;/,
    /the VM at c is stopped/,
  ],
] as const) {
  t.test(`the refusal to recover ${what} says who has it, and what to do`, (t) => {
    const { message, reason } = refusal(vm, known, chosen);
    t.equal(reason, "refused");
    t.match(message, why);
    t.match(message, advice);
    t.notMatch(message, /null|another site/);
    t.notMatch(lossOf(vm, known, chosen), /null|another site/);
    t.end();
  });
}
