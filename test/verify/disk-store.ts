/** Small stores with disks for the verifier's tests, and ways to damage them. */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { StoredGeneration } from "../../cli/store/generation-reader.ts";
import type { VerifyOptions } from "../../cli/verify/verify.ts";
import { verifyPaths } from "../../cli/verify/verify.ts";
import { readQcow2Header } from "../../src/disk/qcow2-header.ts";
import { Qcow2Map } from "../../src/disk/qcow2-map.ts";
import type { DiskShape } from "../../src/generation/disks.ts";
import { MemorySource } from "../disk/memory-source.ts";
import { type DiskFrames, ModelStore, page } from "../store/model-store.ts";
import { addDisk, blockOf, type DeltaLie, type DiskContent, type LegDisk } from "./leg-disks.ts";

export const block = page;
/** Two levels of nodes over the first disk's digests; the second one ends within a block. */
export const shapes = [
  { name: "disk0", lengthBytes: 300 * block },
  { name: "data", lengthBytes: 9 * block + 512 },
] as const;

/** Contents of the first disk: what each generation changes of the one before; 0 makes a block zero again. */
const changes: readonly (readonly [block: number, value: number])[][] = [
  [...Array.from({ length: 40 }, (_, i): [number, number] => [10 + i, i + 1]), [270, 99]],
  [
    [12, 200],
    [13, 201],
    [100, 77],
  ],
  [
    [12, 202],
    [20, 0],
    [280, 5],
  ],
];

/** A store with generations on one chain of images. */
export class DiskStore {
  readonly model: ModelStore;
  readonly chain: StoredGeneration[] = [];
  private readonly shapes: readonly DiskShape[];
  private readonly disks: (readonly LegDisk[])[] = [];

  private constructor(model: ModelStore, shapes: readonly DiskShape[]) {
    this.model = model;
    this.shapes = shapes;
  }

  /** Three generations. `lie`: what the last delta says wrongly of the first disk. */
  static async create(folder: string, lie: DeltaLie = {}): Promise<DiskStore> {
    const store = await DiskStore.createEmpty(folder, shapes);
    let content: DiskContent = new Map();
    for (const [i, changed] of changes.entries()) {
      content = applied(content, changed);
      const isLast = i === changes.length - 1;
      await store.add([{ content }, { content: new Map([[9, tail(i + 1)]]) }], isLast ? lie : {});
    }
    return store;
  }

  static async createEmpty(folder: string, shapes: readonly DiskShape[]): Promise<DiskStore> {
    return new DiskStore(await ModelStore.create(folder), shapes);
  }

  /** Adds a generation on the newest one. */
  async add(disks: readonly LegDisk[], lie: DeltaLie = {}): Promise<void> {
    const { model, chain, shapes } = this;
    const { core, key, geometry, store } = model;
    const base = chain.at(-1) ?? null;
    const memory = new Uint8Array(model.memoryBytes).fill(chain.length + 1, 0, page);
    const before = this.disks.at(-1);
    const frames: DiskFrames = async (writer, sequence) => {
      const added = [];
      for (const [i, disk] of disks.entries()) {
        const target = {
          core,
          key,
          images: store.images,
          region: geometry.regions.length + i,
          sequence,
          sink: (frame: Uint8Array, number: number, kinds: Uint8Array) =>
            writer.applyDisk(frame, number, kinds),
          lie: i === 0 ? lie : {},
        };
        const below = base && before && { image: base.manifest.disks[i].image, content: before[i].content };
        added.push(await addDisk(target, shapes[i], disk, below ?? null));
      }
      return added;
    };
    chain.push(await model.add(memory, base, "device", frames));
    this.disks.push(disks);
  }

  get imagesPath(): string {
    return this.model.store.images.path;
  }

  /** Path of a file of a generation's image. */
  image(generation: number, extension: "qcow2" | "digests" | "json", disk = 0): string {
    const { image } = this.chain[generation - 1].manifest.disks[disk];
    return join(this.imagesPath, `${image}.${extension}`);
  }

  async verify(options: VerifyOptions = {}) {
    return await verifyPaths([this.model.storePath], options);
  }

  /** Which generations can be restored. */
  async restorable(): Promise<boolean[]> {
    const { vms } = await this.verify();
    return vms[0].generations.map(({ restorable }) => restorable);
  }
}

/** Where in an image's file a block has its data, and, if clusters are blocks, its L2 entry. */
export function placeInImage(path: string, number: number): { data: number; entry: number } {
  const bytes = readFileSync(path);
  const source = new MemorySource(bytes);
  const header = readQcow2Header(source);
  const map = new Qcow2Map(source, header);
  map.locate(number * block, 1);
  const perTable = 2 ** header.clusterBits / 8;
  const l1 = header.l1Offset + Math.floor(number / perTable) * 8;
  const table = Number(bytes.readBigUInt64BE(l1) & 0x00fffffffffffe00n);
  return { data: map.fileAt, entry: table + (number % perTable) * 8 };
}

/** Changes one byte of a file by XOR; done twice it is as before. */
export function flip(path: string, at: number, mask = 0x10): void {
  const bytes = readFileSync(path);
  bytes[at] ^= mask;
  writeFileSync(path, bytes);
}

function applied(before: DiskContent, changed: readonly (readonly [number, number])[]): DiskContent {
  const next = new Map(before);
  for (const [number, value] of changed) {
    if (value === 0) next.delete(number);
    else next.set(number, blockOf(value));
  }
  return next;
}

/** The last block of the second disk, of which only 512 bytes are in the disk. */
function tail(value: number): Uint8Array {
  const bytes = new Uint8Array(block);
  bytes.fill(value, 0, 512);
  return bytes;
}
