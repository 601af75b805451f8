/** Builds small stores for tests with the product's own writer, and keeps beside each generation what it must be. */

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { compact } from "../../cli/store/compaction.ts";
import { GenerationContent, readDigests, type StoredGeneration } from "../../cli/store/generation-reader.ts";
import { beginGeneration, type GenerationWriter } from "../../cli/store/generation-writer.ts";
import { VmStore } from "../../cli/store/vm-store.ts";
import { toHex } from "../../src/bytes.ts";
import { type Core, loadCore } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { type DiskTop, PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions, type Region } from "../../src/generation/geometry.ts";
import type { ManifestDisk } from "../../src/generation/manifest.ts";

export const page = 4096;

/** Two regions, so that region and page space differ. */
const smallRegions: readonly Region[] = [
  { name: "pc.ram", kind: "ram", lengthBytes: 40 * page },
  { name: "vga.vram", kind: "ram", lengthBytes: 7 * page },
];

/** A disk as a generation names it, with what its root covers. */
export type ModelDisk = ManifestDisk & DiskTop;

/** Adds frames of disks to a generation that is being written, and says which disks it then has. */
export type DiskFrames = (writer: GenerationWriter, sequence: FrameSequence) => Promise<readonly ModelDisk[]>;

/** A store with one VM, and the memory of each generation. */
export class ModelStore {
  readonly core: Core;
  readonly storePath: string;
  readonly vm: string;
  readonly geometry: Geometry;
  readonly key = new Uint8Array(32).map((_, i) => 7 * i + 1);
  readonly store: VmStore;
  /** Memory of each generation that was written, by its number. */
  readonly memories = new Map<number, Uint8Array>();

  private constructor(core: Core, storePath: string, vm: string, regions: readonly Region[]) {
    this.core = core;
    this.storePath = storePath;
    this.vm = vm;
    this.geometry = placeRegions(regions);
    this.store = new VmStore(core, storePath, vm);
  }

  /** The store in `folder/store`, whatever is there; nothing is written. */
  static async open(folder: string, vm = "web1", regions = smallRegions): Promise<ModelStore> {
    return new ModelStore(await loadCore(), join(folder, "store"), vm, regions);
  }

  /** Makes an empty store in `folder/store`, with the VM's key beside it. */
  static async create(folder: string, vm = "web1", regions = smallRegions): Promise<ModelStore> {
    const model = await ModelStore.open(folder, vm, regions);
    await model.store.prepare();
    await mkdir(`${model.storePath}.keys`, { recursive: true });
    await writeFile(`${model.storePath}.keys/${vm}.key`, `${toHex(model.key)}\n`);
    return model;
  }

  get memoryBytes(): number {
    return this.geometry.totalPages * page;
  }

  /** Writes the next generation: `memory` as QEMU would send it, on `base` or in full; a seed if `device` is null. */
  async add(
    memory: Uint8Array,
    base: StoredGeneration | null = null,
    device: string | null = "device",
    given: readonly ModelDisk[] | DiskFrames = [],
  ): Promise<StoredGeneration> {
    const { generations } = await this.store.list();
    const generation = (generations.at(-1)?.manifest.generation ?? 0) + 1;
    const { core, geometry, key, vm } = this;
    const target = { vm, generation, legId: `leg-${generation}` };
    const writer = beginGeneration(core, this.store.generationsPath, target, geometry, base);
    const content = base ? new GenerationContent(core, base) : null;
    const scratch = core.allocate(page);
    const incoming = core.allocate(page);
    const baseDigests = base ? await readDigests(base) : undefined;
    const digests = new PageDigests(core, key, geometry, baseDigests?.slice());
    const readBasePage = (number: number, pointer: number) => {
      if (content) content.readPages(number, 1, pointer);
      else core.bytes().fill(0, pointer, pointer + page);
    };
    const reader = {
      basePage: (number: number) => {
        readBasePage(number, scratch);
        return scratch;
      },
    };
    const decoder = new PageDecoder(core, geometry.regions, { readBasePage });
    const common: Common = baseDigests
      ? { mode: "content", reader, digests: baseDigests }
      : { mode: "nothing" };
    const sink = (frame: Uint8Array) => writer.apply(decoder.decode(frame), frame);
    const sequence = new FrameSequence(2);
    const encoder = new ChangeEncoder(core, digests, common, sink, sequence);
    for (const region of geometry.regions) {
      for (let i = 0; i < region.pages; i++) {
        const at = (region.firstPage + i) * page;
        const bytes = memory.subarray(at, at + page);
        core.bytes().set(bytes, incoming);
        if (core.raw.isZero(incoming, page) === 1) encoder.zeroPage(region.index, i);
        else encoder.page(region.index, i, incoming);
      }
    }
    encoder.flush();
    const disks = typeof given === "function" ? await given(writer, sequence) : given;
    const state = new TextEncoder().encode(device ?? "");
    const digest = core.blake3(state, key);
    const frames = device === null ? [] : encodeDeviceFrames(core, state, sequence.next);
    const root = digests.root(digest, disks);
    const start = {
      vm,
      generation,
      epoch: generation,
      from: "a",
      to: "b",
      createdAt: "2024-01-01T00:00:00.000Z",
      machine: "pc-i440fx-7.2",
      accelerator: "tcg" as const,
      ...(device === null && ({ seed: true } as const)),
    };
    const manifest = await writer.finish(start, {
      digests: digests.digests,
      device: { frames, bytes: state.length, digest },
      disks: disks.map(({ name, lengthBytes, image }) => ({ name, lengthBytes, image })),
      root,
    });
    content?.close();
    const stored = await writer.commit(manifest);
    this.memories.set(generation, memory.slice());
    return stored;
  }

  /** A chain of `deltas` deltas on a full generation. Returns all, oldest first. */
  async addChain(deltas: number): Promise<StoredGeneration[]> {
    let memory = firstMemory(this.memoryBytes);
    const all = [await this.add(memory)];
    for (let i = 1; i <= deltas; i++) {
      memory = nextMemory(memory, i);
      all.push(await this.add(memory, all[i - 1], `device ${i}`));
    }
    return all;
  }

  /** The content of a generation through its chain. */
  read(generation: StoredGeneration): Uint8Array {
    const content = new GenerationContent(this.core, generation);
    const { totalPages } = this.geometry;
    const target = this.core.allocate(totalPages * page);
    try {
      content.readPages(0, totalPages, target);
      return this.core.bytes().slice(target, target + totalPages * page);
    } finally {
      content.close();
      this.core.release(target);
    }
  }

  async compact(generation: StoredGeneration): Promise<StoredGeneration> {
    return await compact(this.core, generation);
  }
}

/** Memory with text, noise, and zeroes. */
export function firstMemory(bytes: number): Uint8Array {
  const memory = new Uint8Array(bytes);
  const noise = noiseFrom(1);
  for (let at = 0; at < bytes; at += page) {
    const number = at / page;
    if (number % 3 === 0) continue;
    for (let i = 0; i < page; i++) memory[at + i] = number % 3 === 1 ? noise() : (number + (i >> 6)) & 0xff;
  }
  return memory;
}

/** Memory with some words, some pages, a page of zeroes, and a moved page changed. */
export function nextMemory(memory: Uint8Array, seed: number): Uint8Array {
  const next = memory.slice();
  const noise = noiseFrom(seed + 100);
  const pages = memory.length / page;
  for (let i = 0; i < 4; i++) next[((seed * 5 + i * 3) % pages) * page + noise() * 8] ^= 0x5a;
  const fresh = (seed * 7 + 3) % pages;
  for (let i = 0; i < page; i++) next[fresh * page + i] = noise();
  const cleared = (seed * 11 + 4) % pages;
  next.fill(0, cleared * page, (cleared + 1) * page);
  const source = ((seed * 13 + 1) % pages) * page;
  next.set(memory.subarray(source, source + page), ((seed * 17 + 6) % pages) * page);
  return next;
}

/** Bytes that look random and are the same every time. */
export function noiseFrom(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return (state >>> 7) & 0xff;
  };
}
