/** What was seen of a cell, and what of it must not be. */

import type { Cell, Fault } from "./matrix.ts";
import type { Place } from "./places.ts";

/** What was seen. Texts say what was wrong; none: nothing was. */
export interface Observation {
  /** The fault met the leg where it should. */
  readonly isReached: boolean;
  /** How the leg ended: "done", or its error's reason. */
  readonly legEnd: string;
  /** Times at which two copies ran. */
  readonly overlaps: readonly string[];
  /** Copies that ran at the end, with everything healed and before any recovery. */
  readonly running: number;
  /** Copies that ran when the leg had ended while the fault lasted on; null where a fault does not last. */
  readonly meanwhile: number | null;
  /** Why the sites did not come to agree where the VM is; null: they did. */
  readonly unsettled: string | null;
  /** Where the VM did not run: how its recovery failed; null: it did not, or there was no need. */
  readonly unrecovered: string | null;
  /** What of memory, disks, stores and processes is not as it must be. */
  readonly damage: readonly string[];
  /** What went wrong with the next leg. */
  readonly nextLeg: readonly string[];
}

/** The line of a cell. */
export interface CellLine {
  readonly fault: Fault;
  readonly at: string;
  /** Copies at the end; 2 if two ever ran at the same time. */
  readonly running: 0 | 1 | 2;
  readonly restartable: boolean;
  readonly intact: boolean;
  readonly nextLegOk: boolean;
}

/** A cell's line, and each reason why it is a violation. */
export interface Verdict {
  readonly line: CellLine;
  readonly legEnd: string;
  readonly violations: readonly string[];
}

/** True if the fault takes the only copy that may run: then it may stand still until it is recovered. */
export function mayBeDown(fault: Fault, { custody }: Pick<Place, "custody">): boolean {
  if (fault === "kill-source-qemu") return custody === "source";
  return fault === "kill-destination-qemu" && (custody === "either" || custody === "destination");
}

/**
 * Places where the VM surely runs, and the link was there: a leg must outlive a cut that ends. (In a RAM round QEMU may
 * stop the VM by itself, and then the leg waits for the link only as long as the VM may stand still.)
 */
const patientPlaces = [
  "source:rounds",
  "source:disk-round",
  "destination:offered",
  "destination:receiving",
  "destination:first-frame",
];

/** True if the leg must come to its end all the same. */
function mustSurvive(fault: Fault, { name }: Pick<Place, "name">): boolean {
  return (fault === "cut-1s" || fault === "cut-30s") && patientPlaces.includes(name);
}

/** Judges what was seen. */
export function judge({ fault, place }: Cell, seen: Observation): Verdict {
  const violations: string[] = [];
  if (!seen.isReached) violations.push(`the leg never came to ${place.name}`);
  for (const overlap of seen.overlaps) violations.push(`two copies ran: ${overlap}`);
  if (seen.running > 1) violations.push(`${seen.running} copies run`);
  if ((seen.meanwhile ?? 0) > 1) violations.push(`${seen.meanwhile} copies run while the fault lasts`);
  if (seen.meanwhile === 0 && seen.legEnd !== "inDoubt" && !mayBeDown(fault, place)) {
    violations.push("the VM does not run while the fault lasts, and nothing is in doubt");
  }
  if (seen.legEnd !== "done" && mustSurvive(fault, place)) {
    violations.push(`the leg did not outlive the cut: it ended as ${seen.legEnd}`);
  }
  if (seen.unsettled !== null) violations.push(`the sites do not agree: ${seen.unsettled}`);
  if (seen.running === 0 && !mayBeDown(fault, place)) violations.push("the VM does not run any more");
  if (seen.unrecovered !== null) violations.push(`the VM cannot be restarted: ${seen.unrecovered}`);
  violations.push(...seen.damage, ...seen.nextLeg.map((text) => `next leg: ${text}`));
  const most = Math.max(seen.running, seen.meanwhile ?? 0);
  const running = seen.overlaps.length > 0 || most > 1 ? 2 : seen.running === 1 ? 1 : 0;
  const isThere = seen.isReached && seen.unsettled === null;
  return {
    legEnd: seen.legEnd,
    line: {
      fault,
      at: place.name,
      running,
      restartable: isThere && seen.unrecovered === null,
      intact: isThere && seen.damage.length === 0,
      nextLegOk: isThere && seen.nextLeg.length === 0,
    },
    violations,
  };
}
