/** What `recover` tells an operator: who has the VM as far as is known, what a forced recovery loses, and what to fence. */

import { formatTime } from "../config/units.ts";
import { OperationError } from "../errors.ts";
import type { StoredBranch } from "../store/branches.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import type { HeardClaim, PeerAnswer } from "./claims.ts";
import type { ManagedVm } from "./managed-vm.ts";

/** What this site knows of who has a VM. */
export interface Hearsay {
  readonly record: OwnershipRecord;
  readonly answers: readonly PeerAnswer[];
  /** What the sites said that could be asked. */
  readonly heard: readonly HeardClaim[];
}

interface Restartable {
  readonly branch: StoredBranch | null;
  readonly state: StoredGeneration | null;
}

/** Milliseconds since a time that a manifest or a record tells. */
export function ageOf(createdAt: string): number {
  return Math.max(0, Date.now() - Date.parse(createdAt));
}

/** The error of a recovery that needs `--force`. */
export function refusal(vm: ManagedVm, hearsay: Hearsay, chosen: Restartable): OperationError {
  const { record } = hearsay;
  const owner = ownerOf(hearsay);
  const known = owner === null ? "no site is known to own it" : `${owner} has it`;
  const why = record.state === "released" ? `its handover to ${owner ?? "another site"} is in doubt` : known;
  return new OperationError(
    "refused",
    `Cannot recover ${vm.name} here: ${[why, ...tidings(hearsay)].join("; ")}; ` +
      `to run it here all the same, ${advice(vm, hearsay)} and use --force; ${lossText(vm, hearsay, chosen, "are lost then")}`,
  );
}

/** What a forced recovery has cost, and what is to be done now. */
export function lossOf(vm: ManagedVm, hearsay: Hearsay, chosen: Restartable): string {
  const owner = ownerOf(hearsay);
  const isRunning = hearsay.heard.some(({ site, state }) => site === owner && state === "owned");
  const rest = isRunning
    ? `the VM at ${owner} is stopped as soon as it hears of this, and what is newer there is kept there as a branch`
    : owner === null
      ? `make sure that ${vm.name} runs nowhere else`
      : `make sure that ${owner} never runs ${vm.name} again: its copy is stopped only when its agent hears of this`;
  return `${lossText(vm, hearsay, chosen, "are not in it")}; ${rest}`;
}

/** What the sites said, one text for each. */
function tidings({ answers, heard }: Hearsay): string[] {
  return answers.map(({ site, claims, problem }) => {
    if (claims === null) return `${site} cannot be reached (${problem})`;
    const claim = heard.find((one) => one.site === site);
    return claim ? `${site} answers: ${sayingOf(claim)}` : `${site} answers: it does not know the VM`;
  });
}

function sayingOf({ state, epoch }: HeardClaim): string {
  if (state === "owned") return `it has the VM (epoch ${epoch})`;
  if (state === "released") return `it has handed the VM over and waits for an answer (epoch ${epoch})`;
  return state === "away" ? `it does not have the VM (epoch ${epoch})` : "it never had the VM";
}

/** Who has the VM as far as is known; null if nobody is known to have it, such as a VM that was imported. */
function ownerOf({ record, heard }: Hearsay): string | null {
  const newest = heard.filter(({ state }) => state === "owned").sort((a, b) => b.epoch - a.epoch)[0];
  return newest?.site ?? (record.peer || null);
}

function advice(vm: ManagedVm, hearsay: Hearsay): string {
  const owner = ownerOf(hearsay);
  if (hearsay.heard.some(({ site, state }) => site === owner && state === "owned")) {
    return `know that the VM at ${owner} is stopped (fenced) as soon as it hears of it; 'bfmig migrate' there loses nothing`;
  }
  if (owner === null) return `make sure that ${vm.name} runs nowhere else`;
  return `fence ${owner} (make sure that it can never run ${vm.name} again)`;
}

function lossText(vm: ManagedVm, { record }: Hearsay, { branch, state }: Restartable, what: string): string {
  if (branch) {
    const age = formatTime(ageOf(branch.record.createdAt));
    return `the ${age} since branch ${branch.record.name} ${what}${state ? "" : ", nor is what was in memory"}`;
  }
  const isHere = vm.qemu !== null && !vm.qemu.qmp.isClosed && record.state === "released";
  if (isHere) return "nothing is lost: the VM is still here, stopped in the handover";
  if (state === null) return "nothing is retained here to restart from";
  const { generation, createdAt } = state.manifest;
  return `the ${formatTime(ageOf(createdAt))} since generation ${generation} ${what}`;
}
