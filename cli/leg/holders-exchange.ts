/**
 * After a leg the source tells what other sites hold, with digests, so that a later leg from the new site to
 * one of them is a return leg although the two never met over this VM.
 */

import { fromHex, toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import {
  applyDigestFrame,
  encodeBlockDigestFrames,
  encodeDigestFrames,
  readDigestFrame,
} from "../../src/delta/digest-frames.ts";
import { decodeFrameHeader } from "../../src/delta/frame.ts";
import { differingRuns } from "../../src/generation/block-digests.ts";
import { type DiskTop, PageDigests } from "../../src/generation/digest-tree.ts";
import { blocksOf, diskDifference } from "../../src/generation/disks.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import type { GenerationId } from "../../src/generation/manifest.ts";
import { type OpenDigests, openDigests } from "../disk/image-content.ts";
import { OperationError } from "../errors.ts";
import { readDigests, type StoredGeneration } from "../store/generation-reader.ts";
import { type DigestsOf, Holders } from "../store/holders.ts";
import type { VmStore } from "../store/vm-store.ts";
import { type PeerConnection, protocolError } from "../wan/connection.ts";
import type { MessageOf } from "../wan/messages.ts";

const notedTimeoutMs = 30_000;

/** What both sides work with. */
export interface HoldersContext {
  readonly core: Core;
  readonly connection: PeerConnection;
  readonly store: VmStore;
  readonly ownSite: string;
  /** The VM's digest key. */
  readonly key: Uint8Array;
  /** The generation that both sites have now. */
  readonly current: StoredGeneration;
}

/** Source: tells the new site who holds what. */
export async function sendHolders(context: HoldersContext): Promise<void> {
  const { core, connection, store, ownSite, current } = context;
  const holders = new Holders(store.path);
  const { generation, root } = current.manifest;
  const currentDigests = await readDigests(current);
  const known = await holders.list();
  known.delete(connection.site);
  known.set(ownSite, { generation, root });
  for (const [site, id] of known) {
    const found = id.root === root ? null : await digestsOf(core, store, holders, id);
    const frames = found && (await digestFrames(context, holders, id, found, currentDigests));
    const deviceDigest = found && frames ? toHex(found.deviceDigest) : null;
    connection.send({ type: "holder", site, id, deviceDigest, frames: frames?.length ?? 0 });
    for (const frame of frames ?? []) connection.sendFrame(frame);
  }
  connection.send({ type: "noted" });
  await connection.expect("noted", notedTimeoutMs);
  await holders.record(connection.site, { generation, root });
}

/** Destination: notes what the source tells, until it says that this was all. */
export async function receiveHolders(context: HoldersContext): Promise<void> {
  const { core, connection, store, ownSite, key, current } = context;
  const holders = new Holders(store.path);
  const geometry = placeRegions(current.manifest.regions);
  const currentDigests = await readDigests(current);
  for (;;) {
    const message = await nextHolder(connection);
    if (message === null) break;
    const { site, id } = message;
    if (message.deviceDigest !== null) {
      const digests = currentDigests.slice();
      const ofDisks = new Map<number, Uint8Array[]>();
      for (let i = 0; i < message.frames; i++) {
        const frame = await nextFrame(connection);
        const { region } = decodeFrameHeader(frame);
        const disk = region - geometry.regions.length;
        if (region === 0) applyDigestFrame(core, frame, digests);
        else if (disk in current.manifest.disks) ofDisks.set(disk, [...(ofDisks.get(disk) ?? []), frame]);
        else throw protocolError(connection.site, `digests of region ${region} came, which has none`);
      }
      const deviceDigest = fromHex(message.deviceDigest);
      const tops = site === ownSite ? null : await keepDisks(context, holders, id, ofDisks);
      const tree = new PageDigests(core, key, geometry, digests);
      const root = tops && toHex(tree.root(deviceDigest, tops));
      tree.release();
      if (root !== null && root !== id.root) {
        await holders.forgetDigests(id);
        throw protocolError(connection.site, `digests of generation ${id.generation} do not have its root`);
      }
      if (site !== ownSite) await holders.keepDigests(core, id, { digests, deviceDigest });
    }
    if (site !== ownSite) await holders.record(site, id);
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

/**
 * Frames that turn the current generation's digests into those of another; null if not all of them are known. Their
 * root is computed as the other side will: what it would refuse is not sent.
 */
async function digestFrames(
  { core, key, store, current }: HoldersContext,
  holders: Holders,
  id: GenerationId,
  found: DigestsOf,
  currentDigests: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>[] | null> {
  if (found.digests.length !== currentDigests.length) return null;
  const frames = encodeDigestFrames(core, currentDigests, found.digests);
  const { disks, regions } = current.manifest;
  const here = await store.find(id);
  if (here && diskDifference(disks, here.manifest.disks) !== null) return null;
  const tops: DiskTop[] = [];
  for (const [i, { name, lengthBytes, image }] of disks.entries()) {
    const blocks = blocksOf(lengthBytes);
    const other: OpenDigests | null = here
      ? await openDigests(core, key, store.images, here.manifest.disks[i].image)
      : await holders.openDiskDigests(core, key, id, name, blocks);
    if (other === null) return null;
    const now = await openDigests(core, key, store.images, image);
    try {
      const runs = differingRuns(now.digests, other.digests);
      const region = regions.length + i;
      const digestOf = (block: number, target: Uint8Array, at: number) =>
        other.digests.copy(block, 1, target, at);
      frames.push(...encodeBlockDigestFrames(core, region, frames.length + 1, blocks, runs, digestOf));
      tops.push({ name, lengthBytes, top: other.digests.top() });
    } finally {
      now.close();
      other.close();
    }
  }
  const tree = new PageDigests(core, key, placeRegions(regions), found.digests);
  const root = toHex(tree.root(found.deviceDigest, tops));
  tree.release();
  return root === id.root ? frames : null;
}

/** Keeps the block digests of a generation whose disks are not here. Returns what its root covers of them. */
async function keepDisks(
  { core, key, store, current }: HoldersContext,
  holders: Holders,
  id: GenerationId,
  frames: ReadonlyMap<number, readonly Uint8Array[]>,
): Promise<DiskTop[]> {
  const tops: DiskTop[] = [];
  for (const [i, { name, lengthBytes, image }] of current.manifest.disks.entries()) {
    const now = await openDigests(core, key, store.images, image);
    try {
      const top = await holders.keepDiskDigests(core, key, id, name, now.digests, async (target) => {
        for (const frame of frames.get(i) ?? []) {
          readDigestFrame(core, frame, target.blocks, (block, digest) => target.set(block, digest, 0));
        }
      });
      tops.push({ name, lengthBytes, top });
    } finally {
      now.close();
    }
  }
  return tops;
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
