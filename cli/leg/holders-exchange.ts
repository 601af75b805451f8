/**
 * After a leg the source tells what other sites hold, with digests, so that a later leg from the new site to
 * one of them is a return leg although the two never met over this VM.
 */

import { fromHex, toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { applyDigestFrame, encodeDigestFrames } from "../../src/delta/digest-frames.ts";
import { PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import { type DigestsOf, Holders } from "../store/holders.ts";
import type { VmStore } from "../store/vm-store.ts";
import { type PeerConnection, protocolError } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";

const notedTimeoutMs = 30_000;

/** Source: tells the new site who holds what. `sealed` is the generation that both have now. */
export async function sendHolders(
  core: Core,
  connection: PeerConnection,
  store: VmStore,
  ownSite: string,
  sealed: StoredGeneration,
): Promise<void> {
  const holders = new Holders(store.path);
  const { generation, root } = sealed.manifest;
  const sealedDigests = await readDigests(sealed);
  const known = await holders.list();
  known.delete(connection.site);
  known.set(ownSite, { generation, root });
  for (const [site, id] of known) {
    const found = id.root === root ? null : await digestsOf(core, store, holders, id);
    const frames =
      found?.digests.length === sealedDigests.length
        ? encodeDigestFrames(core, sealedDigests, found.digests)
        : [];
    const deviceDigest = found && frames.length > 0 ? toHex(found.deviceDigest) : null;
    connection.send({ type: "holder", site, id, deviceDigest, frames: frames.length });
    for (const frame of frames) connection.sendFrame(frame);
  }
  connection.send({ type: "noted" });
  await connection.expect("noted", notedTimeoutMs);
  await holders.record(connection.site, { generation, root });
}

/** Destination: notes what the source tells, until it says that this was all. `current` is the new generation. */
export async function receiveHolders(
  core: Core,
  connection: PeerConnection,
  store: VmStore,
  ownSite: string,
  key: Uint8Array,
  current: StoredGeneration,
): Promise<void> {
  const holders = new Holders(store.path);
  const geometry = placeRegions(current.manifest.regions);
  const currentDigests = await readDigests(current);
  for (;;) {
    const message = await nextHolder(connection);
    if (message === null) break;
    if (message.deviceDigest !== null) {
      const digests = currentDigests.slice();
      for (let i = 0; i < message.frames; i++) applyDigestFrame(core, await nextFrame(connection), digests);
      const deviceDigest = fromHex(message.deviceDigest);
      const tree = new PageDigests(core, key, geometry, digests);
      const root = toHex(tree.root(deviceDigest));
      tree.release();
      if (root !== message.id.root) {
        throw protocolError(
          connection.site,
          `digests of generation ${message.id.generation} do not have its root`,
        );
      }
      if (message.site !== ownSite) await holders.keepDigests(core, message.id, { digests, deviceDigest });
    }
    if (message.site !== ownSite) await holders.record(message.site, message.id);
  }
  connection.send({ type: "noted" });
}

async function digestsOf(
  core: Core,
  store: VmStore,
  holders: Holders,
  id: GenerationId,
): Promise<DigestsOf | null> {
  const here = await store.find(id);
  if (here === null) return await holders.readDigests(core, id);
  return { digests: await readDigests(here), deviceDigest: fromHex(here.manifest.deviceDigest) };
}

async function nextHolder(connection: PeerConnection): Promise<MessageOf<"holder"> | null> {
  const incoming = await connection.next(notedTimeoutMs);
  if ("message" in incoming && incoming.message.type === "holder") return incoming.message;
  if ("message" in incoming && incoming.message.type === "noted") return null;
  throw protocolError(connection.site, "neither 'holder' nor 'noted' came");
}

async function nextFrame(connection: PeerConnection): Promise<Uint8Array> {
  const incoming = await connection.next(notedTimeoutMs);
  if ("frame" in incoming) return incoming.frame;
  throw new OperationError("failed", `Cannot go on with ${connection.site}: a frame of digests is missing`);
}
