/** What of a site must not grow, however many legs there are. */

import { diskBytes, filledPages } from "../faults/fault-bed.ts";

const MIB = 1 << 20;

/** Generations that a site keeps, by its configuration. */
export const keep = 2;
/** At rest: those kept, and the deltas that they stand on before their chain is made complete. */
const mostGenerations = keep + 4;
/** Over the file at the bottom: one for each generation, what the VM writes to, and one received in a leg. */
const mostImages = 1 + mostGenerations + 2;
/** What QEMU and the BIOS have in memory beside what the guest fills, with the files around it. */
const besideBytes = 8 * MIB;
/** Growth that is none: an engine that collects its garbage is not exact. */
const noiseShare = 1.25;
const noiseBytes = 24 * MIB;
/** Legs at the beginning that do not count: caches fill, code is compiled, stores have not yet what they are to keep. */
const warmUpLegs = 12;
/** Kept on purpose: a connection to a peer, a file that is read in the background. */
const spareFiles = 3;
/** Fewer values say nothing of how they change. */
const leastQuarter = 5;

/** Bytes that a site's store may take at any time. */
export const mostStoreBytes =
  mostGenerations * (filledPages * 4096 + besideBytes) + mostImages * (diskBytes + MIB);

/** Bytes that an agent's process may have in memory at any time, with a VM of this size. */
export const mostAgentBytes = 384 * MIB;

/** True if values grow: the middle of the last quarter is well above that of the first, after the warm-up. */
export function grows(values: readonly number[]): boolean {
  const counted = values.slice(warmUpLegs);
  const quarter = Math.floor(counted.length / 4);
  if (quarter < leastQuarter) return false;
  return middle(counted.slice(-quarter)) > middle(counted.slice(0, quarter)) * noiseShare + noiseBytes;
}

/** Open files of one process after each of its legs: true if they become more with the legs. */
export function leaksFiles(counts: readonly number[]): boolean {
  const half = Math.floor(counts.length / 2);
  // Connections come and go: the least of some legs is what stays open.
  return (
    half >= leastQuarter && Math.min(...counts.slice(-half)) > Math.min(...counts.slice(0, half)) + spareFiles
  );
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}
