/**
 * Where a leg can be when something happens to it: every state of both sides' tables and every step within them.
 * A place is named `side:step`, with `first/` before it for a leg without a common generation.
 */

import { destinationSteps, sourceSteps } from "../../cli/leg/leg-steps.ts";
import {
  type DestinationState,
  destinationTransitions,
  type SourceState,
  sourceTransitions,
} from "../../cli/leg/state-machine.ts";

/** The two sides of a leg. */
export type Side = "source" | "destination";

/**
 * Whose QEMU has the VM. `source`: only the source's may run it. `still`: it stands still at both, and either can go
 * on. `either`: the destination may or may not run it by now. `destination`: it runs there.
 */
export type Custody = "source" | "still" | "either" | "destination";

/** How a leg is brought to a place, where that takes more than a leg. */
export type Approach =
  | "leg"
  /** The leg is cancelled during its rounds. */
  | "cancelled"
  /** The link is cut when RELEASED is durable and COMMIT was not sent. */
  | "cut off"
  /** The destination's QEMU dies before `cont`. */
  | "cont fails";

/** A place. */
export interface Place {
  readonly name: string;
  readonly side: Side;
  readonly step: string;
  readonly custody: Custody;
  /** Whether the destination has a QEMU for the VM. */
  readonly destinationQemu: "none" | "perhaps" | "there";
  readonly approach: Approach;
  readonly leg: "first" | "return";
}

type Shape = Pick<Place, "custody" | "destinationQemu"> & { readonly approach?: Approach };

const atSource = { custody: "source", destinationQemu: "there" } as const;
const still = { custody: "still", destinationQemu: "there" } as const;
const atDestination = { custody: "destination", destinationQemu: "there" } as const;

/** In the order in which a leg comes to them. */
const sourceShapes: Readonly<
  Record<Exclude<SourceState, "taken-back"> | (typeof sourceSteps)[number], Shape>
> = {
  negotiating: { custody: "source", destinationQemu: "none" },
  rounds: { custody: "source", destinationQemu: "perhaps" },
  "disk-round": { custody: "source", destinationQemu: "perhaps" },
  "ram-round": atSource,
  stopped: atSource,
  "disks-read": atSource,
  "stream-ended": atSource,
  finishing: atSource,
  completing: atSource,
  "shut-answered": atSource,
  released: still,
  "commit-sent": { custody: "either", destinationQemu: "there" },
  "handed-over": atDestination,
  sealing: atDestination,
  sealed: atDestination,
  "in-doubt": { custody: "source", destinationQemu: "perhaps", approach: "cut off" },
  aborted: { custody: "source", destinationQemu: "perhaps", approach: "cancelled" },
};

const destinationShapes: Readonly<Record<DestinationState | (typeof destinationSteps)[number], Shape>> = {
  offered: { custody: "source", destinationQemu: "none" },
  receiving: { custody: "source", destinationQemu: "perhaps" },
  "first-frame": { custody: "source", destinationQemu: "perhaps" },
  loading: { custody: "source", destinationQemu: "perhaps" },
  written: atSource,
  prepared: atSource,
  "in-force": still,
  owned: still,
  running: atDestination,
  returned: { custody: "source", destinationQemu: "none", approach: "cont fails" },
  discarded: { custody: "source", destinationQemu: "none", approach: "cancelled" },
};

/** States at which nothing can happen to a leg, and why. */
export const stateless: Readonly<Record<string, string>> = {
  "source:taken-back": "settling comes to it in the ownership record, no leg is in it",
};

/** Places of a leg back. */
export const returnPlaces: readonly Place[] = [
  ...Object.entries(sourceShapes).map(([step, shape]) => placeOf("source", step, shape)),
  ...Object.entries(destinationShapes).map(([step, shape]) => placeOf("destination", step, shape)),
];

const firstLegSteps = [
  "source:ram-round",
  "source:released",
  "destination:first-frame",
  "destination:prepared",
];

/** Places of a first leg: few, since the handover is the same. */
export const firstPlaces: readonly Place[] = returnPlaces
  .filter(({ name }) => firstLegSteps.includes(name))
  .map((place) => ({ ...place, name: `first/${place.name}`, leg: "first" }));

/** Every state and step that there is, as `side:step`. */
export const allSteps: readonly string[] = [
  ...[...Object.keys(sourceTransitions), ...sourceSteps].map((step) => `source:${step}`),
  ...[...Object.keys(destinationTransitions), ...destinationSteps].map((step) => `destination:${step}`),
];

function placeOf(side: Side, step: string, { approach = "leg", ...shape }: Shape): Place {
  return { name: `${side}:${step}`, side, step, approach, leg: "return", ...shape };
}
