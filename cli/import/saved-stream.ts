/** Turns a migration stream that QEMU saved to a file into the memory and device state of a complete generation. */

import type { Core } from "../../src/core.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { pageBytes, RecordKind } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { type Geometry, geometryLimits, placeRegions } from "../../src/generation/geometry.ts";
import { QemuStreamDecoder, type RamBlock } from "../../src/qemu-stream/index.ts";
import { OperationError } from "../errors.ts";
import type { GenerationParts, GenerationWriter } from "../store/generation-writer.ts";
import { arrangeBlocks } from "./ram-blocks.ts";

/** Bytes of the shortest record of a page in a stream. */
const shortestPage = 9;
/** Pages that are written at a time. */
const batchPages = 256;
/** Device frames are numbered from here, as those of a leg that had no pages. */
const firstSequence = 2;

/** How a stream is taken. */
export interface SavedStreamOptions {
  readonly core: Core;
  readonly key: Uint8Array;
  /** The machine that the VM's definition describes. */
  readonly vm: { readonly name: string; readonly machine: string; readonly memoryBytes: number };
  /** Length of the stream: it cannot have more pages than fit in there. */
  readonly sizeBytes: number;
  /** Begins the generation once the stream has named its RAM blocks. */
  readonly begin: (geometry: Geometry) => GenerationWriter;
}

/** What the stream holds; ready to be finished and committed. */
export interface SavedState {
  readonly writer: GenerationWriter;
  readonly machine: string;
  readonly parts: GenerationParts;
  /** Names of the devices by the stream's own description; none if it has none. */
  readonly devices: readonly string[];
}

interface Open {
  readonly geometry: Geometry;
  readonly regionOfBlock: readonly number[];
  readonly digests: PageDigests;
  readonly writer: GenerationWriter;
  /** Pages that the stream has, over the page space. */
  readonly seen: Uint8Array;
}

/** Takes a stream piece by piece. Call `release` when done with it. */
export class SavedStream {
  private readonly options: SavedStreamOptions;
  private readonly decoder: QemuStreamDecoder;
  private readonly contents: number;
  private readonly found: number;
  private readonly pages = new Uint32Array(batchPages);
  private readonly kinds = new Uint8Array(batchPages);
  private count = 0;
  private region = 0;
  private open: Open | null = null;
  private machine = "";
  private device: Uint8Array | null = null;
  private devices: string[] = [];

  constructor(options: SavedStreamOptions) {
    this.options = options;
    this.contents = options.core.allocate(batchPages * pageBytes);
    this.found = options.core.allocate(batchPages * digestBytes);
    this.decoder = new QemuStreamDecoder(
      {
        machine: (name) => this.takeMachine(name),
        ramBlocks: (blocks) => this.takeBlocks(blocks),
        page: (block, page, bytes, at) => {
          const target = this.reserve(block, page, RecordKind.raw);
          this.options.core.bytes().set(bytes.subarray(at, at + pageBytes), target);
        },
        zeroPage: (block, page) => {
          const target = this.reserve(block, page, RecordKind.zero);
          this.options.core.bytes().fill(0, target, target + pageBytes);
        },
        deviceState: (tail) => {
          this.device = tail;
        },
        vmDescription: (json) => {
          this.devices = deviceNames(json);
        },
      },
      { ramBytes: geometryLimits.pages * pageBytes, ramBlocks: geometryLimits.regions },
    );
  }

  /** The generation that is being written, for whoever gives it up; null before the stream has named its RAM blocks. */
  get writer(): GenerationWriter | null {
    return this.open?.writer ?? null;
  }

  /** Takes the next bytes. Throws FormatError if they are no stream that can be taken, OperationError if it does not fit. */
  push(chunk: Uint8Array): void {
    this.decoder.push(chunk);
  }

  /** All bytes have come. Throws FormatError or OperationError if something is missing. */
  finish(): SavedState {
    this.decoder.finish();
    this.flush();
    const { core, key } = this.options;
    const { open, device } = this;
    if (open === null || device === null) throw new Error("a stream that is done has RAM and device state");
    this.checkWhole(open);
    const digest = core.blake3(device, key);
    return {
      writer: open.writer,
      machine: this.machine,
      devices: this.devices,
      parts: {
        digests: open.digests.digests,
        device: { frames: encodeDeviceFrames(core, device, firstSequence), bytes: device.length, digest },
        disks: [],
        root: open.digests.root(digest),
      },
    };
  }

  /** Gives the memory in the core back. The writer stays the caller's. */
  release(): void {
    this.open?.digests.release();
    this.options.core.release(this.contents);
    this.options.core.release(this.found);
  }

  private takeMachine(name: string): void {
    const { vm } = this.options;
    if (name !== vm.machine) {
      throw new OperationError(
        "failed",
        `Cannot import into ${vm.name}: the stream is of a ${name}, the definition says ${vm.machine}`,
      );
    }
    this.machine = name;
  }

  private takeBlocks(blocks: readonly RamBlock[]): void {
    const { core, key, vm, begin } = this.options;
    const { regions, regionOfBlock } = arrangeBlocks(blocks, vm);
    const geometry = placeRegions(regions);
    const most = Math.floor(this.options.sizeBytes / shortestPage);
    // Before anything is allocated by what the stream says.
    if (geometry.totalPages > most) {
      throw notWhole(
        `it says that it has ${geometry.totalPages} pages, and is too short for more than ${most}`,
      );
    }
    const seen = new Uint8Array(Math.ceil(geometry.totalPages / 8));
    const digests = new PageDigests(core, key, geometry);
    try {
      this.open = { geometry, regionOfBlock, digests, writer: begin(geometry), seen };
    } catch (error) {
      digests.release();
      throw error;
    }
  }

  /** Room for a page in the batch; what is full, or of another region, is written first. */
  private reserve(block: number, page: number, kind: number): number {
    const { regionOfBlock, geometry, seen } = this.open as Open;
    const region = regionOfBlock[block];
    if (this.count === batchPages || region !== this.region) this.flush();
    this.region = region;
    const global = geometry.regions[region].firstPage + page;
    seen[global >> 3] |= 1 << (global & 7);
    this.pages[this.count] = page;
    this.kinds[this.count] = kind;
    return this.contents + this.count++ * pageBytes;
  }

  private flush(): void {
    if (this.count === 0) return;
    const { core } = this.options;
    const { geometry, digests, writer } = this.open as Open;
    core.raw.pageDigests(this.contents, this.count, digests.keyPointer, this.found);
    const memory = core.bytes();
    const { firstPage } = geometry.regions[this.region];
    // Pages that are zero from the beginning need no room on the disk.
    let kept = 0;
    for (let i = 0; i < this.count; i++) {
      const page = this.pages[i];
      const at = this.found + i * digestBytes;
      if (digests.equals(firstPage + page, memory, at)) continue;
      digests.set(this.region, firstPage + page, memory, at);
      if (kept < i) core.raw.copy(this.contents + kept * pageBytes, this.contents + i * pageBytes, pageBytes);
      this.pages[kept] = page;
      this.kinds[kept++] = this.kinds[i];
    }
    this.count = 0;
    if (kept === 0) return;
    const { pages, kinds, contents, region } = this;
    writer.apply({ region, sequence: 1, count: kept, pages, kinds, contents }, new Uint8Array(0));
  }

  /** QEMU sends every page at least once; what was sent on other channels is not in the file. */
  private checkWhole({ geometry, seen }: Open): void {
    for (const { name, firstPage, pages } of geometry.regions) {
      let missing = 0;
      let first = -1;
      for (let page = 0; page < pages; page++) {
        const global = firstPage + page;
        if (seen[global >> 3] & (1 << (global & 7))) continue;
        if (missing++ === 0) first = page;
      }
      if (missing === 0) continue;
      throw notWhole(`${missing} of ${pages} pages of ${name} are not in it, the first is page ${first}`);
    }
  }
}

function notWhole(why: string): OperationError {
  return new OperationError(
    "failed",
    `Cannot import the stream: ${why}; save it without multifd, without x-ignore-shared and without free page hints`,
  );
}

/** Names of the devices in QEMU's own description of the stream. */
function deviceNames(json: Uint8Array): string[] {
  // The decoder has found that it is a JSON object.
  const { devices } = JSON.parse(new TextDecoder().decode(json)) as { devices?: unknown };
  if (!Array.isArray(devices)) return [];
  return devices.map((device: { name?: unknown } | null) =>
    typeof device?.name === "string" ? device.name : "?",
  );
}
