/**
 * Which of two sites' ownership records wins. Ownership is ordered by the epoch, then by the name of the site: two
 * forced recoveries can have taken the same epoch. Pure functions over records.
 */

import type { OwnershipRecord } from "./ownership.ts";

/** What a site says of a VM. */
export interface Claimed {
  readonly site: string;
  readonly state: OwnershipRecord["state"];
  readonly epoch: number;
}

/** Epochs above it are nobody's: no VM moves so often, and a forced recovery must always find a higher one. */
export const maxEpoch = 2 ** 48;
/** A VM's epoch after it was started and before it ever moved. */
const firstEpoch = 1;

/**
 * True if another site's claim ends the ownership that `record` gives to `site`. A handover in order never does: the
 * one that hands over has recorded RELEASED before the other one owns.
 *
 * At the first epoch nobody has recovered anything by force: two VMs that were started under one name are two VMs.
 */
export function overrules(
  claim: Claimed,
  record: Pick<OwnershipRecord, "state" | "epoch">,
  site: string,
): boolean {
  if (record.state !== "owned" || claim.state === "none" || claim.epoch > maxEpoch) return false;
  if (claim.epoch !== record.epoch) return claim.epoch > record.epoch;
  return claim.state === "owned" && record.epoch > firstEpoch && claim.site > site;
}

/** True if another site's claim says that the VM of a handover in doubt is elsewhere for good. */
export function endsDoubt(claim: Claimed, record: Pick<OwnershipRecord, "state" | "epoch">): boolean {
  if (record.state !== "released" || claim.state === "none" || claim.epoch > maxEpoch) return false;
  return claim.epoch > record.epoch;
}

/**
 * What this site's record of a VM that is elsewhere becomes by another site's claim; null if the claim has no news. An
 * epoch of a handover in doubt is not learned: this site may be the one that is to take it.
 */
export function learned(claim: Claimed, record: OwnershipRecord): OwnershipRecord | null {
  if (record.state !== "away" || claim.epoch <= record.epoch || claim.epoch > maxEpoch) return null;
  if (claim.state === "owned") return { ...record, epoch: claim.epoch, peer: claim.site };
  return claim.state === "away" ? { ...record, epoch: claim.epoch } : null;
}
