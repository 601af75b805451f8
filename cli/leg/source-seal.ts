/** This site's own copy of the state that a leg handed over, or copied: from then on it is restartable here. */

import { messageOf } from "../errors.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { GenerationParts } from "../store/generation-writer.ts";
import type { LegPurpose } from "../wan/messages.ts";
import type { StreamEnd } from "./pump-options.ts";
import type { SourceLegContext } from "./source-context.ts";
import type { SourceDisks } from "./source-disks.ts";
import type { SourcePump } from "./source-pump.ts";

/** What a leg has at its end. */
export interface LegEnd {
  readonly purpose: LegPurpose;
  readonly pump: SourcePump;
  readonly disks: SourceDisks | null;
  readonly stream: StreamEnd;
  readonly root: Uint8Array;
  readonly epoch: number;
  /** When the VM was stopped in this state, in milliseconds since 1970. */
  readonly stoppedAt: number;
}

/**
 * Completes the copy and puts it in force. Null when that fails: the handover stands all the same, and the
 * generations before it are still here.
 */
export async function sealOwnCopy(context: SourceLegContext, end: LegEnd): Promise<StoredGeneration | null> {
  const { writer } = end.pump;
  try {
    return await seal(context, end);
  } catch (error) {
    context.warn(`Cannot keep generation ${writer.generation} here: ${messageOf(error)}`);
    await writer.discard();
    return null;
  }
}

async function seal(context: SourceLegContext, end: LegEnd): Promise<StoredGeneration> {
  const { site, peer, definition, accelerator } = context;
  const { pump, disks, stream, root, epoch, stoppedAt, purpose } = end;
  const { writer, machine, digests } = pump;
  const parts: GenerationParts = {
    digests: digests.digests,
    device: stream,
    disks: (await disks?.seal()) ?? [],
    root,
  };
  const manifest = await writer.finish(
    {
      vm: definition.name,
      generation: writer.generation,
      epoch,
      from: site,
      to: peer,
      createdAt: new Date(stoppedAt).toISOString(),
      machine,
      accelerator,
      ...(purpose === "seed" && ({ seed: true } as const)),
    },
    parts,
  );
  return await writer.commit(manifest);
}
