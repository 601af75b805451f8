/**
 * What a leg would find on a VM's disks: how much is marked as written, how much of that differs from what the peer has,
 * and what it makes on the wire. Sampled blocks are read through QEMU, as a leg reads them; nothing is recorded or stopped.
 */

import type { Core } from "../../src/core.ts";
import type { BlockDigests } from "../../src/generation/block-digests.ts";
import { blocksOf } from "../../src/generation/disks.ts";
import { bitmapsOf, blockNodes, distrust, sinceBitmapName } from "../disk/dirty-bitmaps.ts";
import { openDigests } from "../disk/image-content.ts";
import { CodecChoice } from "../leg/codec-choice.ts";
import type { CommonBase } from "../leg/common-base.ts";
import { DiskExports, depthContext } from "../leg/disk-exports.ts";
import type { LegDisk } from "../leg/source-disks.ts";
import type { NbdClient } from "../nbd/client.ts";
import { extents } from "../nbd/extents.ts";
import type { QmpClient } from "../qemu/qmp-client.ts";
import { Holders } from "../store/holders.ts";
import type { VmStore } from "../store/vm-store.ts";

const blockBytes = 4096;
/** Blocks are read in runs, as they compress together. */
const runBlocks = 16;
/** NBD: the range reads as zero. */
const zeroFlag = 2;
/** QEMU: the image that the VM writes to has the range itself. */
const topDepth = 1;
/** Extents of a disk that are looked at, at most: a badly scattered disk is known by its beginning. */
const maxExtents = 100_000;

/** What is known of a VM's disks, in bytes of disk unless named otherwise. */
export interface DiskFacts {
  /** Has to be read. */
  readonly markedBytes: number;
  readonly changedBytes: number;
  readonly changedDeviation: number;
  /** Bytes on the wire for each byte that differs. */
  readonly blockCost: number;
  readonly sampledBlocks: number;
}

/** What to measure. */
export interface DiskProbe {
  readonly core: Core;
  readonly key: Uint8Array;
  readonly qmp: QmpClient;
  readonly store: VmStore;
  readonly disks: readonly LegDisk[];
  readonly base: CommonBase;
  readonly socketPath: string;
  readonly bytesPerSecond: number;
  /** Blocks to read of all disks. */
  readonly sampleBlocks: number;
}

interface Range {
  readonly offset: number;
  readonly bytes: number;
}

/** Measures. Rejects where QEMU cannot export its disks now. */
export async function measureDisks(probe: DiskProbe): Promise<DiskFacts> {
  const exports = new DiskExports(probe.qmp, probe.socketPath);
  const sum = { marked: 0, changed: 0, variance: 0, sampled: 0, changedSampled: 0, wire: 0 };
  try {
    await exports.start();
    for (const disk of probe.disks) await measureDisk(probe, exports, disk, sum);
  } finally {
    await exports.stop();
  }
  return {
    markedBytes: sum.marked,
    changedBytes: sum.changed,
    changedDeviation: Math.sqrt(sum.variance),
    blockCost: sum.changedSampled === 0 ? 1 : Math.min(2, sum.wire / sum.changedSampled),
    sampledBlocks: sum.sampled,
  };
}

async function measureDisk(
  probe: DiskProbe,
  exports: DiskExports,
  disk: LegDisk,
  sum: {
    marked: number;
    changed: number;
    variance: number;
    sampled: number;
    changedSampled: number;
    wire: number;
  },
): Promise<void> {
  const { qmp, base, core, sampleBlocks, disks, bytesPerSecond } = probe;
  const { backing } = disk.image;
  const client = await exports.add({ node: disk.node, bitmap: null, allocationDepth: backing !== null });
  const ranges: Range[] = [];
  const context = backing === null ? "base:allocation" : depthContext;
  for await (const { offset, lengthBytes, flags } of extents(client, context)) {
    if (backing === null ? (flags & zeroFlag) === 0 : flags === topDepth)
      ranges.push({ offset, bytes: lengthBytes });
    if (ranges.length >= maxExtents) break;
  }
  const written = ranges.reduce((total, { bytes }) => total + bytes, 0);
  const found =
    backing &&
    bitmapsOf(await blockNodes(qmp), disk.node).find(({ name }) => name === sinceBitmapName(backing));
  const marked = found && distrust(found) === null ? Math.min(written, found.count) : written;
  sum.marked += marked;
  if (written === 0) return;
  const share = Math.ceil(sampleBlocks / disks.length);
  const runs = sampleRuns(ranges, written, share);
  const peer = await openPeer(probe, disk);
  const codec = new CodecChoice(core, { bytesPerSecond: () => bytesPerSecond, isBusy: () => false });
  const changed: Uint8Array[] = [];
  let sampled = 0;
  try {
    for (const { offset, bytes } of runs) {
      const content = await readRange(client, offset, bytes);
      for (let at = 0; at < bytes; at += blockBytes) {
        const block = new Uint8Array(content.subarray(at, at + blockBytes));
        if (block.length < blockBytes) continue;
        sampled++;
        const digest = core.blake3(block, probe.key, 16);
        const isZero = block.every((byte) => byte === 0);
        if (peer ? peer.digests.equals((offset + at) / blockBytes, digest, 0) : isZero) continue;
        changed.push(isZero ? block.subarray(0, 1) : block);
      }
    }
  } finally {
    peer?.close();
  }
  const ratio = sampled === 0 ? 1 : changed.length / sampled;
  sum.sampled += sampled;
  sum.changed += ratio * marked;
  if (sampled > 0 && base.mode !== "nothing") {
    // Blocks of a run are alike, so runs count as the sample.
    const independent = Math.max(1, sampled / runBlocks);
    sum.variance += (marked * Math.sqrt((ratio * (1 - ratio)) / independent)) ** 2;
  }
  const weight = ratio * marked;
  const cost = costOf(core, codec, changed);
  sum.wire += cost * weight;
  sum.changedSampled += weight;
}

/** Runs spread evenly over what the ranges hold. */
function sampleRuns(ranges: readonly Range[], total: number, blocks: number): Range[] {
  const runBytes = runBlocks * blockBytes;
  const count = Math.max(1, Math.min(Math.floor(blocks / runBlocks), Math.ceil(total / runBytes)));
  const runs: Range[] = [];
  let before = 0;
  let next = 0;
  for (const { offset, bytes } of ranges) {
    for (; next < count; next++) {
      const at = Math.floor(((next + 0.5) * total) / count) - before;
      if (at >= bytes) break;
      const from = Math.max(
        0,
        Math.floor((Math.min(at, bytes - runBytes) + offset) / blockBytes) * blockBytes - offset,
      );
      runs.push({ offset: offset + from, bytes: Math.min(runBytes, bytes - from) });
    }
    before += bytes;
  }
  return runs;
}

/** Digests of what the peer has; null: it has nothing. */
async function openPeer(
  { core, key, store, base }: DiskProbe,
  { name, lengthBytes }: LegDisk,
): Promise<{ readonly digests: BlockDigests; close(): void } | null> {
  if (base.mode === "nothing") return null;
  if (base.mode === "digests")
    return await new Holders(store.path).openDiskDigests(core, key, base.id, name, blocksOf(lengthBytes));
  const held = base.generation.manifest.disks.find((one) => one.name === name);
  return held ? await openDigests(core, key, store.images, held.image) : null;
}

async function readRange(client: NbdClient, offset: number, bytes: number): Promise<Buffer> {
  const content = Buffer.allocUnsafe(bytes);
  await client.read(offset, bytes, {
    data: (at, piece) => content.set(piece, at),
    hole: (at, length) => content.fill(0, at, at + length),
  });
  return content;
}

/** Compressed bytes for each byte of the blocks, in payloads such as frames have. */
function costOf(core: Core, codec: CodecChoice, blocks: readonly Uint8Array[]): number {
  const payloadBlocks = 64;
  let wire = 0;
  for (let from = 0; from < blocks.length; from += payloadBlocks) {
    const some = blocks.slice(from, from + payloadBlocks);
    const plain = new Uint8Array(some.length * blockBytes);
    let at = 0;
    for (const block of some) {
      plain.set(block, at);
      at += block.length;
    }
    const used = plain.subarray(0, at);
    const packed = codec.choose()?.(used) ?? core.lz4Compress(used);
    wire += Math.min(used.length, packed?.length ?? used.length);
  }
  return blocks.length === 0 ? 1 : wire / (blocks.length * blockBytes);
}
