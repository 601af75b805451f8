/**
 * A checkpoint or a seed, seen from the destination: a leg into the store. No QEMU loads it, nothing is owned by it; once the
 * source says so it is in force. A checkpoint is then what `recover` would restart, a seed only what the next leg builds on.
 */

import type { Manifest } from "../../src/generation/manifest.ts";
import { messageOf } from "../errors.ts";
import { IntegrityLedger } from "../store/integrity.ts";
import type { Message } from "../wan/messages.ts";
import { DestinationLeg } from "./destination-leg.ts";
import type { DestinationStore } from "./destination-store.ts";
import { traceStep } from "./leg-steps.ts";

/** Receives one copy. Throws OperationError when it does not come to be in force here. */
export class DestinationCopy extends DestinationLeg {
  protected override async startQemu(): Promise<void> {}

  protected override async conclude(message: Message): Promise<boolean> {
    if (message.type !== "keep") return false;
    const { store, warn } = this.context;
    const { writer } = this.destination as DestinationStore;
    const generation = await writer.commit(this.manifest as Manifest);
    this.isInForce = true;
    traceStep({ side: "destination", step: "in-force" });
    this.machine.go("kept");
    this.isOver = true;
    this.link?.finish();
    this.link?.send({ type: "kept", generation: generation.manifest.generation });
    await new IntegrityLedger(store).record(generation).catch((error) => warn(messageOf(error)));
    this.outcome.resolve({ generation, process: null });
    return true;
  }
}
