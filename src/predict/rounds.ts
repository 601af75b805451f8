/**
 * The rounds of a live migration, as a recurrence. Round 0 sends what differs, each further one what was written to while
 * the one before went over the link.
 *
 *     V_0     = c_m · p · (1 − z) · M + c_d · q · B
 *     T_0     = max(t(V_0),  (1 − z) · M / S_h + p · (1 − z) · M / S_e,  q · B / S_r,  q · B / S_w)
 *     V_{i+1} = c_r · W · (1 − e^(−D_m · T_i / W)) + c_d · min(D_d · T_i, B)
 *     T_i     = max(V_i / R, T_round)
 *
 * t is the time of a transfer over an idle link (link.ts). Pages of a working set are hit at random, so the distinct ones
 * approach W as the time grows. What hosts compare and encode, and the disks, overlap with the link: the slowest of
 * them sets the pace of round 0.
 */

import { type LinkModel, transferSeconds, usableBytesPerSecond } from "./link.ts";
import type { HostSpeeds, VmLoad } from "./load.ts";

/** One leg's rounds. */
export interface Rounds {
  /** Seconds of the rounds while the VM runs. */
  readonly liveSeconds: number;
  /** Bytes on the wire in them: memory and disks. */
  readonly pageBytes: number;
  readonly blockBytes: number;
  /** Rounds while the VM runs, at least 1. */
  readonly count: number;
  /** What the VM stands still for: memory and disks. */
  readonly lastPageBytes: number;
  readonly lastBlockBytes: number;
  /** False if what is left stops shrinking above the allowed downtime: the leg would not end by itself. */
  readonly converges: boolean;
}

/** A round that is not this much smaller than the one before does not converge any more. */
const shrinkage = 0.99;
const maxRounds = 10_000;

/** `allowedBytes`: what may be left when the VM is stopped. */
export function playRounds(load: VmLoad, speeds: HostSpeeds, link: LinkModel, allowedBytes: number): Rounds {
  const rate = usableBytesPerSecond(link);
  const first = firstRound(load, speeds, link);
  let { seconds } = first;
  let liveSeconds = 0;
  let pageBytes = 0;
  let blockBytes = 0;
  let pages = first.pageBytes;
  let blocks = first.blockBytes;
  let count = 0;
  for (;;) {
    liveSeconds += seconds;
    pageBytes += pages;
    blockBytes += blocks;
    count++;
    const sent = pages + blocks;
    pages = load.dirtyPageCost * distinctBytes(load.dirtyBytesPerSecond * seconds, load.workingSetBytes);
    blocks = load.blockCost * Math.min(load.dirtyDiskBytesPerSecond * seconds, load.diskBytes);
    const left = pages + blocks;
    const fits = left <= allowedBytes;
    const isStuck = count > 1 && left >= sent * shrinkage;
    if (fits || isStuck || count >= maxRounds) {
      const last = { lastPageBytes: pages, lastBlockBytes: blocks };
      return { liveSeconds, pageBytes, blockBytes, count, ...last, converges: fits };
    }
    seconds = Math.max(left / rate, speeds.roundSeconds);
  }
}

/** Distinct bytes among `written` ones that fall at random into a working set. */
function distinctBytes(written: number, workingSet: number): number {
  return workingSet > 0 ? workingSet * -Math.expm1(-written / workingSet) : 0;
}

function firstRound(load: VmLoad, speeds: HostSpeeds, link: LinkModel) {
  const filled = (1 - load.zeroShare) * load.memoryBytes;
  const pages = load.changedPageShare * filled;
  const blocks = load.changedBlockShare * load.diskBytes;
  const pageBytes = load.pageCost * pages;
  const blockBytes = load.blockCost * blocks;
  const seconds = Math.max(
    speeds.roundSeconds / 2,
    transferSeconds(pageBytes + blockBytes, link),
    filled / speeds.compareBytesPerSecond + pages / speeds.encodeBytesPerSecond,
    blocks / speeds.readBytesPerSecond,
    blocks / speeds.writeBytesPerSecond,
  );
  return { pageBytes, blockBytes, seconds };
}
