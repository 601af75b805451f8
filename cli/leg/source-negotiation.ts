/** The beginning of a leg at the source: the peer hears what comes, says what it has, and a base is chosen. */

import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import type { OwnershipRecord } from "../store/ownership.ts";
import type { LegPurpose, Message, MessageOf } from "../wan/messages.ts";
import { type CommonBase, findCommonBase } from "./common-base.ts";
import type { SourceLegContext } from "./source-context.ts";

const offerTimeoutMs = 30_000;

/** What is needed to agree. */
export interface Negotiation {
  readonly core: Core;
  readonly context: SourceLegContext;
  readonly purpose: LegPurpose;
  /** Who has the VM now: this site. */
  readonly record: OwnershipRecord;
  readonly link: { send(message: Message): void };
  /** The peer's answer. Rejects as soon as the leg has failed. */
  readonly offer: (timeoutMs: number) => Promise<MessageOf<"offer">>;
  /** The generation to take if both have it. */
  readonly preferred: GenerationId | null;
}

/** Returns what the leg is encoded against, and the number of the generation that it makes. Throws OperationError. */
export async function negotiate(
  negotiation: Negotiation,
): Promise<{ readonly base: CommonBase; readonly generation: number }> {
  const { core, context, purpose, record, link, offer: awaitOffer, preferred } = negotiation;
  const { definition, ramBlock, key, store, peer, accelerator, warn } = context;
  const { name, machine, cpu, memoryBytes } = definition;
  const disks = context.disks.map(({ name, lengthBytes, bus }) => ({ name, lengthBytes, bus }));
  const { generations } = await store.list();
  const newest = generations.at(-1)?.manifest.generation ?? 0;
  link.send({
    type: "prepare",
    leg: context.legId,
    purpose,
    vm: { name, machine, cpu, memoryBytes, accelerator, disks },
    ramBlock,
    epoch: purpose === "handover" ? record.epoch + 1 : record.epoch,
    key: toHex(key),
    linkTimeoutMs: context.linkTimeoutMs,
    streams: context.streams,
  });
  const offer = await awaitOffer(offerTimeoutMs + context.linkTimeoutMs);
  const generation = Math.max(newest, record.generation, ...offer.have.map((one) => one.generation)) + 1;
  const base = await findCommonBase({ core, key, store, offered: offer.have, disks, warn, preferred });
  if (base.mode === "nothing" && newest > 0 && offer.have.length > 0) {
    warn(`${peer} holds generations of ${name}, but none that is known here: everything is sent`);
  }
  return { base, generation };
}
