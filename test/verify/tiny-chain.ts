/** A chain of so few pages that it can be verified thousands of times. */

import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import type { Region } from "../../src/generation/geometry.ts";
import type { GenerationInput } from "../../src/verify/generation-files.ts";
import { type RandomAccess, readFully } from "../../src/verify/random-access.ts";
import { ModelStore, noiseFrom, page } from "../store/model-store.ts";

const regions: readonly Region[] = [
  { name: "pc.ram", kind: "ram", lengthBytes: 5 * page },
  { name: "vga.vram", kind: "ram", lengthBytes: 3 * page },
];

/** Generations 1 (complete) and 2, oldest first. */
export interface TinyChain {
  readonly model: ModelStore;
  readonly chain: StoredGeneration[];
}

/** Eight pages; the delta has records of every kind that an encoder writes, and leaves two pages alone. */
export async function makeTinyChain(folder: string, vm = "web1", seed = 1): Promise<TinyChain> {
  const model = await ModelStore.create(folder, vm, regions);
  const noise = noiseFrom(seed);
  const memory = new Uint8Array(model.memoryBytes).map(noise);
  const chain = [await model.add(memory, null, `device of ${vm}`)];
  const next = memory.slice();
  next[page + 8] ^= 0x5a;
  next.fill(0, 2 * page, 3 * page);
  next.set(memory.subarray(0, page), 3 * page);
  for (let i = 0; i < page; i++) next[5 * page + i] = noise();
  for (let i = 0; i < page; i++) next[6 * page + i] = seed + (i >> 6);
  next[7 * page] ^= 1;
  chain.push(await model.add(next, chain[0], `next device of ${vm}`));
  return { model, chain };
}

/** All bytes of one of its files. */
export async function bytesOf({ files }: GenerationInput, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = files.get(name) as RandomAccess;
  const bytes = new Uint8Array(file.sizeBytes);
  await readFully(file, bytes, 0);
  return bytes;
}
