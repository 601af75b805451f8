/** Faults × places: which cells there are, why the others cannot be, and which of them a quick run takes. */

import { firstPlaces, type Place, returnPlaces } from "./places.ts";

/** What happens to a leg, and for how long. */
export const faults = [
  "kill-source-agent",
  "kill-destination-agent",
  "kill-source-qemu",
  "kill-destination-qemu",
  "cut-1s",
  "cut-30s",
  "cut-forever",
  "disk-full-source",
  "disk-full-destination",
  "stop-source-20s",
  "stop-destination-20s",
] as const;

/** One of them. */
export type Fault = (typeof faults)[number];

/** A fault at a place. */
export interface Cell {
  readonly fault: Fault;
  readonly place: Place;
}

/** A pair that is not in the matrix. */
export interface Impossible {
  readonly fault: Fault;
  readonly at: string;
  readonly why: string;
}

const kills: readonly Fault[] = ["kill-source-agent", "kill-destination-agent", "kill-source-qemu"];
/** Cells that mostly wait. */
const slowFaults: readonly Fault[] = ["cut-30s", "cut-forever", "stop-source-20s", "stop-destination-20s"];

/** Why a fault cannot happen at a place; null if it can. */
function whyImpossible(fault: Fault, place: Place): string | null {
  if (fault === "kill-destination-qemu" && place.destinationQemu === "none") {
    return "there is no QEMU at the destination";
  }
  if (fault === "kill-destination-qemu" && place.destinationQemu === "perhaps") {
    return "the destination's QEMU may only be on its way: it is killed at ram-round, stopped and later ones";
  }
  if (place.approach === "cut off" && fault.startsWith("cut-")) return "the link is cut already";
  if (place.approach !== "leg" && !kills.includes(fault) && fault !== "cut-1s") {
    return "a second fault on top of the one that leads there: kills and a short cut stand for all";
  }
  if (place.leg === "first" && fault === "kill-source-qemu" && place.custody === "source") {
    return "a VM that never had a leg has no generation to restart from: 'start' boots it again";
  }
  if (place.leg === "first" && slowFaults.includes(fault)) return "the same as in a return leg";
  return null;
}

/** All cells, in the order of the places. */
export function allCells(): Cell[] {
  return pairs().filter(({ fault, place }) => whyImpossible(fault, place) === null);
}

/** All pairs that are left out. */
export function impossibleCells(): Impossible[] {
  return pairs().flatMap(({ fault, place }) => {
    const why = whyImpossible(fault, place);
    return why === null ? [] : [{ fault, at: place.name, why }];
  });
}

/** True if a cell takes long by its nature, and the machine has nothing to do meanwhile. */
export function isSlow({ fault, place }: Cell): boolean {
  return slowFaults.includes(fault) || place.approach === "cut off";
}

/** True if both stores must be file systems of their own. */
export function needsSmallStores({ fault }: Cell): boolean {
  return fault.startsWith("disk-full-");
}

/** Name of a cell on the command line. */
export function cellName({ fault, place }: Cell): string {
  return `${fault}@${place.name}`;
}

/** Every place at least once, every fault at least once; the deaths that the handover's order is about. */
const quickFaults: Readonly<Record<string, readonly Fault[]>> = {
  "source:negotiating": ["kill-source-agent", "cut-1s"],
  "source:rounds": ["kill-destination-agent", "disk-full-source"],
  "source:disk-round": ["cut-1s", "kill-source-agent"],
  "source:ram-round": [
    "cut-1s",
    "kill-source-qemu",
    "kill-destination-qemu",
    "disk-full-destination",
    "cut-30s",
    "stop-source-20s",
  ],
  "source:stopped": ["kill-source-agent"],
  "source:disks-read": ["cut-1s"],
  "source:stream-ended": ["kill-destination-qemu"],
  "source:finishing": ["cut-1s", "cut-forever"],
  "source:completing": ["kill-source-agent", "kill-source-qemu"],
  "source:shut-answered": ["kill-source-agent", "cut-1s"],
  "source:released": [
    "kill-source-agent",
    "kill-source-qemu",
    "kill-destination-qemu",
    "cut-1s",
    "cut-forever",
  ],
  "source:commit-sent": ["kill-source-agent", "kill-destination-agent", "kill-destination-qemu"],
  "source:handed-over": ["kill-source-agent", "disk-full-source"],
  "source:sealing": ["kill-source-agent", "disk-full-source"],
  "source:sealed": ["kill-source-qemu"],
  "source:in-doubt": ["kill-source-agent"],
  "source:aborted": ["kill-source-agent"],
  "destination:offered": ["kill-destination-agent", "cut-1s"],
  "destination:receiving": ["disk-full-destination", "stop-destination-20s"],
  "destination:first-frame": ["kill-destination-agent", "cut-1s"],
  "destination:loading": ["kill-source-agent"],
  "destination:written": ["disk-full-destination"],
  "destination:prepared": ["kill-destination-agent", "kill-destination-qemu", "cut-1s"],
  "destination:in-force": ["kill-destination-agent", "disk-full-destination"],
  "destination:owned": ["kill-destination-agent", "kill-destination-qemu"],
  "destination:running": ["kill-destination-agent", "kill-destination-qemu", "cut-1s"],
  "destination:returned": ["kill-destination-agent"],
  "destination:discarded": ["kill-destination-agent"],
  "first/source:ram-round": ["cut-1s"],
  "first/destination:prepared": ["kill-destination-agent"],
};

/** The cells of a quick run. */
export function quickCells(): Cell[] {
  return allCells().filter(({ fault, place }) => quickFaults[place.name]?.includes(fault) ?? false);
}

function pairs(): Cell[] {
  return [...returnPlaces, ...firstPlaces].flatMap((place) => faults.map((fault) => ({ fault, place })));
}
