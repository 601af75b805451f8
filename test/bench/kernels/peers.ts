/** npm packages that do the same as a kernel, as their users call them: byte arrays in, byte arrays out. */
import * as zstd from "@bokuweb/zstd-wasm";
import { deflateSync, inflateSync } from "fflate";
import { createBLAKE3 } from "hash-wasm";
import { compress as lz4Compress, decompress as lz4Decompress } from "lz4-wasm-nodejs";
import { blockBytes, type Inputs, packedBlocks, pageBytes } from "./inputs.ts";

/** A peer's way through `bytes` bytes. Throws Error if what it gives is wrong. */
export type Peer = { readonly name: string; readonly bytes: number; readonly run: () => void };

/** Slow peers get so many blocks. */
const slowBlocks = 64;
const digestBits = 128;
const keyBytes = 32;

/** Compressors of blocks of 64 KiB, the other formats at their fastest level. */
export async function compressPeers(inputs: Inputs): Promise<Peer[]> {
  await zstd.init();
  const all = cut(inputs, blockBytes);
  const some = spread(all);
  return [
    peer("lz4-wasm-nodejs", all, (block) => lz4Compress(block)),
    peer("@bokuweb/zstd-wasm", some, (block) => zstd.compress(block, 1)),
    peer("fflate", some, (block) => deflateSync(block, { level: 1 })),
  ];
}

/** Decompressors: LZ4 of the blocks that we made, the other formats of their own. */
export async function decompressPeers(inputs: Inputs): Promise<Peer[]> {
  await zstd.init();
  const ours = packedBlocks(inputs.core, inputs.blocks).map(withSize);
  const some = spread(cut(inputs, blockBytes));
  const zstdBlocks = some.map((block) => zstd.compress(block, 1));
  const deflated = some.map((block) => deflateSync(block, { level: 1 }));
  return [
    peer("lz4-wasm-nodejs", ours, (block) => lz4Decompress(block), ours.length * blockBytes),
    peer("@bokuweb/zstd-wasm", zstdBlocks, (block) => zstd.decompress(block), some.length * blockBytes),
    peer("fflate", deflated, (block) => inflateSync(block), some.length * blockBytes),
  ];
}

/** Keyed BLAKE3 of pages one by one, and of everything as one stream. */
export async function blake3Peers(inputs: Inputs): Promise<{ pages: Peer[]; stream: Peer[] }> {
  const { core, key } = inputs;
  const hasher = await createBLAKE3(digestBits, core.bytes().slice(key, key + keyBytes));
  const hash = (data: Uint8Array) => hasher.init().update(data).digest("binary");
  return {
    pages: [peer("hash-wasm", cut(inputs, pageBytes), hash)],
    stream: [peer("hash-wasm", cut(inputs, inputs.bytes), hash)],
  };
}

function peer(
  name: string,
  items: readonly Uint8Array[],
  work: (item: Uint8Array) => Uint8Array,
  bytes: number = items.reduce((sum, { length }) => sum + length, 0),
): Peer {
  const run = () => {
    let length = 0;
    for (const item of items) length += work(item).length;
    if (length === 0) throw new Error(`Cannot measure ${name}: it gives nothing`);
  };
  return { name, bytes, run };
}

/** The later dump in pieces. */
function cut({ core, after, bytes }: Inputs, length: number): Uint8Array[] {
  return Array.from({ length: bytes / length }, (_, i) =>
    core.bytes().slice(after + i * length, after + (i + 1) * length),
  );
}

/** Some of the blocks, from everywhere. */
function spread(blocks: readonly Uint8Array[]): Uint8Array[] {
  const step = Math.ceil(blocks.length / slowBlocks);
  return blocks.filter((_, i) => i % step === 0);
}

/** The package's blocks begin with the length of their contents, u32le. */
function withSize(block: Uint8Array): Uint8Array {
  const whole = new Uint8Array(block.length + 4);
  new DataView(whole.buffer).setUint32(0, blockBytes, true);
  whole.set(block, 4);
  return whole;
}
