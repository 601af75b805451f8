/**
 * Steps of a leg that lie within its states, and a place to watch them all from inside the process: Node's
 * `diagnostics_channel` calls its subscribers before the leg goes on. What is injected there meets the leg exactly at
 * that step.
 */

import { channel } from "node:diagnostics_channel";
import type { DestinationState, KeeperState, KeepState, SourceState } from "./state-machine.ts";

/** Steps of the source beside its states, in their order. */
export const sourceSteps = [
  /** The first round of the disks begins. */
  "disk-round",
  /** QEMU has begun its second pass over the memory. */
  "ram-round",
  /** The VM stands still; the last round of the disks was read, no disk is exported any more. */
  "disks-read",
  /** QEMU's stream has ended and its last frame was sent. */
  "stream-ended",
  /** QEMU was told SHUT 0. */
  "shut-answered",
  /** COMMIT was handed to the connection. */
  "commit-sent",
  /** This site's own copy is about to be completed. */
  "sealing",
  /** It is in force. */
  "sealed",
] as const;

/** Steps of the destination beside its states, in their order. */
export const destinationSteps = [
  /** The first frame is in the store. */
  "first-frame",
  /** All files of the generation are durable, it is not in force. */
  "written",
  /** COMMIT came; the generation has its number. */
  "in-force",
] as const;

/** Name of the channel; what is published there is a `LegStep`. */
export const legStepChannel = "bfmig:leg-step";

type SourceStep = SourceState | KeepState | (typeof sourceSteps)[number];
type DestinationStep = DestinationState | KeeperState | (typeof destinationSteps)[number];

/** A leg has come to a state, or to a step within one. */
export type LegStep =
  | { readonly side: "source"; readonly step: SourceStep }
  | { readonly side: "destination"; readonly step: DestinationStep };

const steps = channel(legStepChannel);

/** Tells where a leg of this site is. Costs nothing while nobody watches. */
export function traceStep(step: LegStep): void {
  if (steps.hasSubscribers) steps.publish(step);
}
