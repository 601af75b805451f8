/** What the guest does between two legs: no two times the same. */

import { diskBytes, type FaultBed, filledPages, workingPages } from "../faults/fault-bed.ts";
import type { SeededRandom } from "../faults/seeded-random.ts";

const SECTOR = 512;
const mostPages = 256;
const mostDiskBytes = 512 * 1024;

/** Changes memory and disk. */
export async function changeSomething(bed: FaultBed, random: SeededRandom): Promise<void> {
  for (let i = random.integer(1, 3); i > 0; i--) {
    const count = random.integer(1, mostPages);
    const first = random.integer(workingPages, filledPages - count);
    await bed.changeMemory(random.pick(["rewrite", "refill", "zero", "increment"]), first, count);
  }
  for (let i = random.integer(0, 2); i > 0; i--) await bed.changeDisk(drawCommand(random));
}

function drawCommand(random: SeededRandom): string {
  const what = random.pick(["write -P", "write -z", "discard"] as const);
  // Only whole clusters read as zeroes after a discard.
  const unit = what === "discard" ? 64 * 1024 : SECTOR;
  const length = unit * random.integer(1, mostDiskBytes / unit);
  const offset = unit * random.integer(0, Math.floor((diskBytes - length) / unit));
  const command = what === "write -P" ? `${what} ${random.integer(1, 255)}` : what;
  return `${command} ${offset} ${length}`;
}
