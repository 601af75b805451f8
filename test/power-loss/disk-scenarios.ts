/** What sites do with disks. Images are made, written and merged by a QEMU without a machine; no guest runs. */

import { join } from "node:path";
import { BlockHost } from "../../cli/disk/block-host.ts";
import { chainNodes, nodeName } from "../../cli/disk/block-nodes.ts";
import type { ImageDescriptor } from "../../cli/disk/image-store.ts";
import { mergeImages, planMerge } from "../../cli/disk/merge.ts";
import { DestinationDisks } from "../../cli/leg/destination-disks.ts";
import { SourceDisks } from "../../cli/leg/source-disks.ts";
import { NbdClient } from "../../cli/nbd/client.ts";
import { compact } from "../../cli/store/compaction.ts";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import { prune } from "../../cli/store/retention.ts";
import { BlockEncoder } from "../../src/delta/block-encoder.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { frameExtents } from "../../src/generation/disks.ts";
import { QEMU_BINARY } from "../qemu/qemu-fixture.ts";
import { type DiskFrames, firstMemory, nextMemory, page } from "../store/model-store.ts";
import type { Stage } from "./stage.ts";

const shape = { name: "disk0", lengthBytes: 64 * page };
const granularityBytes = 65536;

/**
 * A VM comes with a disk, to a site that has nothing of it. It leaves: what it wrote to becomes part of a generation. It
 * comes back, on that one. Then older generations go, and images that nobody names any more are merged.
 */
export async function diskScenario(stage: Stage): Promise<void> {
  const { core, key, store, memoryBytes } = stage.model;
  const { images } = store;
  await stage.settle();
  await stage.begin();
  const memory = firstMemory(memoryBytes);
  const first = await receive(stage, memory, null, 1);
  const second = await leave(stage, nextMemory(memory, 1), first, 2);
  const third = await receive(stage, nextMemory(memory, 2), second, 3);
  await stage.step("compact", () => compact(core, third));
  await stage.step("prune", () => prune(core, key, store, 1));
  await stage.step("sweep", () => store.sweepImages());
  const { images: current } = await images.current();
  const chain = await images.chain(current[shape.name]);
  const named = new Set([...((await store.namedImages()) ?? []), ...Object.values(current)]);
  const plan = planMerge({ chain, named, all: (await images.list()).values() });
  if (plan === null) throw new Error("there is nothing to merge");
  await withHost(stage, async (host) => {
    await host.open(chainNodes(images, chain, { writable: false, cache: "writeback" }));
    await stage.step("merge", () => mergeImages(core, key, images, host.qmp, plan, () => true));
    // QEMU has not ended: what it has not told the disk to keep may be lost.
    await stage.step("sweep after the merge", () => store.sweepImages());
  });
}

/** A leg that arrives, from its first frame to OWNED. */
async function receive(
  stage: Stage,
  memory: Uint8Array,
  base: StoredGeneration | null,
  number: number,
): Promise<StoredGeneration> {
  const { core, key, geometry, store } = stage.model;
  const host = await BlockHost.start(QEMU_BINARY, stage.runPath);
  const arriving = [{ ...shape, granularityBytes }];
  const options = {
    core,
    key,
    images: store.images,
    legId: `leg-${number}`,
    disks: arriving,
    base,
    host,
    willRun: true,
  };
  const disks = await DestinationDisks.begin(options);
  try {
    const frames: DiskFrames = async (writer, sequence) => {
      const extents = frameExtents(geometry, [shape]);
      const decoder = new PageDecoder(core, extents, { readBasePage: () => {} });
      await disks.connect();
      for (const { frame, kinds } of framesOf(stage, number, sequence)) {
        const decoded = decoder.decode(frame);
        await disks.apply(0, decoded);
        writer.applyDisk(frame, decoded.sequence, kinds);
      }
      const [{ top }] = disks.tops();
      await disks.close();
      decoder.release();
      return (await disks.seal()).map((disk) => ({ ...disk, top }));
    };
    const { model } = stage;
    const stored = await stage.step(`commit generation ${number}`, () =>
      model.add(memory, base, `device ${number}`, frames),
    );
    await stage.step("record what the VM writes to", () => disks.takeOver());
    await stage.step("record OWNED", () => stage.own("owned", number, number));
    return stored;
  } finally {
    disks.release();
    await host.kill();
  }
}

/** A leg that leaves, after the VM has written a little: from RELEASED to its own copy. */
async function leave(
  stage: Stage,
  memory: Uint8Array,
  base: StoredGeneration,
  number: number,
): Promise<StoredGeneration> {
  const { core, key, geometry, store } = stage.model;
  const { images } = store;
  const { images: current } = await images.current();
  const chain = await images.chain(current[shape.name]);
  const [image] = chain;
  return await withHost(stage, async (host) => {
    await host.open(chainNodes(images, chain, { writable: true, cache: "writeback" }));
    const frames: DiskFrames = async (writer, sequence) => {
      await writeLikeGuest(host, image, number);
      const disks = await SourceDisks.begin({
        ...{ core, key, qmp: host.qmp, store, legId: `leg-${number}` },
        disks: [{ ...shape, granularityBytes, node: nodeName(image.id), image }],
        base: { mode: "nothing" },
        firstRegion: geometry.regions.length,
        socketPath: join(stage.runPath, "disks.sock"),
        sequence,
        sink: (frame, at, kinds) => writer.applyDisk(frame, at, kinds),
        room: async () => {},
        warn: (message) => console.error(message),
      });
      try {
        await disks.finish();
        const [{ top }] = disks.tops();
        // As the VM's QEMU does when it has stopped the VM and hands its disks over.
        await host.close();
        return (await disks.seal()).map((disk) => ({ ...disk, top }));
      } finally {
        await disks.release();
      }
    };
    await stage.step("record RELEASED", () => stage.own("released", number, number));
    return await stage.step(`seal generation ${number}`, () =>
      stage.model.add(memory, base, `device ${number}`, frames),
    );
  });
}

async function withHost<T>(stage: Stage, action: (host: BlockHost) => Promise<T>): Promise<T> {
  const host = await BlockHost.start(QEMU_BINARY, stage.runPath);
  try {
    return await action(host);
  } finally {
    await host.kill();
  }
}

async function writeLikeGuest(host: BlockHost, image: ImageDescriptor, seed: number): Promise<void> {
  const socketPath = await host.exportWritable([nodeName(image.id)]);
  const client = await NbdClient.connect({ socketPath, exportName: nodeName(image.id) });
  await client.write(5 * page, new Uint8Array(3 * page).fill(100 + seed));
  await client.disconnect();
  await host.qmp.execute("nbd-server-stop");
}

/** Frames with some whole blocks, as from a source that knows nothing of what is here. */
function framesOf(
  stage: Stage,
  seed: number,
  sequence: ConstructorParameters<typeof BlockEncoder>[1]["sequence"],
): { frame: Uint8Array; kinds: Uint8Array }[] {
  const { core, key } = stage.model;
  const keyPointer = core.allocate(key.length);
  core.bytes().set(key, keyPointer);
  const blocks = core.allocate(4 * page);
  const frames: { frame: Uint8Array; kinds: Uint8Array }[] = [];
  const encoder = new BlockEncoder(core, {
    region: stage.model.geometry.regions.length,
    own: {
      zero: core.blake3(new Uint8Array(page), key, digestBytes),
      keyPointer,
      equals: () => false,
      set: () => {},
    },
    peer: null,
    base: { mode: "unknown" },
    sequence,
    sink: (frame, kinds) => frames.push({ frame: frame.slice(), kinds: kinds.slice() }),
  });
  for (const first of [seed, 20 + 3 * seed]) {
    for (let i = 0; i < 4; i++)
      core.bytes().fill(10 * seed + i + 1, blocks + i * page, blocks + (i + 1) * page);
    encoder.blocks(first, 4, blocks);
  }
  encoder.flush();
  encoder.release();
  for (const pointer of [keyPointer, blocks]) core.release(pointer);
  return frames;
}
