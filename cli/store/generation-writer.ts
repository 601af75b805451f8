/**
 * Writes a generation while its leg goes on, in a folder that is not yet a generation.
 *
 *     begin    .partial-<leg>/ with ram.img (sparse) and, on a base, delta with its header
 *     apply    page contents to ram.img, frames to delta
 *     finish   digests, device, trailer, manifest; everything synced: complete, but not yet in force
 *     commit   the folder gets its number: from now on it is a generation
 */

import {
  closeSync,
  constants,
  existsSync,
  fdatasync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { toHex } from "../../src/bytes.ts";
import type { Core, CoreHasher } from "../../src/core.ts";
import { encodeDeltaHeader, encodeDeltaTrailer } from "../../src/delta/header-frame.ts";
import type { DecodedPages } from "../../src/delta/page-decoder.ts";
import { noRecords, pageBytes, type RecordCounts, recordKindNames } from "../../src/delta/vocabulary.ts";
import type { Geometry } from "../../src/generation/geometry.ts";
import {
  encodeManifest,
  type Manifest,
  type ManifestDisk,
  type ManifestFile,
} from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { partialPrefix, storeError, syncDirectory } from "./atomic-file.ts";
import { removeFolder } from "./folder.ts";
import type { StoredGeneration } from "./generation-reader.ts";

const syncData = promisify(fdatasync);
/** After so many bytes written the disk is asked to take them, so that the last sync finds little to do. */
const syncEveryBytes = 16 << 20;

/** What the manifest needs beside what the writer knows. */
export type ManifestStart = Omit<
  Manifest,
  "format" | "files" | "records" | "base" | "regions" | "disks" | "root" | "deviceDigest" | "deviceBytes"
>;

/** What a generation holds beside the pages that frames brought. */
export interface GenerationParts {
  /** Page digests of RAM, 16 bytes a page. */
  readonly digests: Uint8Array;
  /** `frames` are the device frames as they crossed the WAN. */
  readonly device: {
    readonly frames: readonly Uint8Array[];
    readonly bytes: number;
    readonly digest: Uint8Array;
  };
  /** The images of its disks, complete and durable. */
  readonly disks: readonly ManifestDisk[];
  readonly root: Uint8Array;
}

/** Writes one generation. Create it with `beginGeneration`. */
export class GenerationWriter {
  /** Where it lies now: `commit` gives it its final name. */
  directory: string;
  readonly generation: number;
  readonly records: RecordCounts = noRecords();
  /** Pages that have a record, over the page space. */
  readonly dirty: Uint8Array;
  private readonly core: Core;
  private readonly geometry: Geometry;
  private readonly base: StoredGeneration | null;
  private readonly generationsPath: string;
  private readonly image: number;
  private readonly delta: number | null;
  private readonly deltaHasher: CoreHasher;
  private deltaBytes = 0;
  private deltaFrames = 0;
  private lastSequence = 1;
  private unsyncedBytes = 0;
  private syncing: Promise<unknown> | null = null;
  private failure: unknown = null;
  private open = true;

  constructor(
    core: Core,
    geometry: Geometry,
    base: StoredGeneration | null,
    target: { generationsPath: string; directory: string; vm: string; generation: number },
  ) {
    this.core = core;
    this.geometry = geometry;
    this.base = base;
    this.generationsPath = target.generationsPath;
    this.directory = target.directory;
    this.generation = target.generation;
    this.dirty = new Uint8Array(Math.ceil(geometry.totalPages / 8));
    this.deltaHasher = core.createHasher();
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    this.image = openSync(join(target.directory, "ram.img"), flags, 0o600);
    ftruncateSync(this.image, geometry.totalPages * pageBytes);
    this.delta = base === null ? null : openSync(join(target.directory, "delta"), flags, 0o600);
    if (base !== null) {
      const { vm, generation } = target;
      const id = { generation: base.manifest.generation, root: base.manifest.root };
      this.appendDelta(
        encodeDeltaHeader(core, { vm, generation, base: id, totalPages: geometry.totalPages }, 1),
      );
    }
  }

  /** Path of the image that grows here. */
  get imagePath(): string {
    return join(this.directory, "ram.img");
  }

  /** Takes one decoded frame of RAM: contents to the image, the frame itself to the delta. Throws OperationError. */
  apply(decoded: DecodedPages, frame: Uint8Array): void {
    const { firstPage } = this.geometry.regions[decoded.region];
    const { pages, count, contents } = decoded;
    this.requireOpen();
    try {
      for (let i = 0; i < count; ) {
        let run = 1;
        while (i + run < count && pages[i + run] === pages[i] + run) run++;
        this.writeRun(firstPage + pages[i], run, contents + i * pageBytes);
        i += run;
      }
    } catch (error) {
      throw storeError(`Cannot write ${this.directory}`, error);
    }
    this.applyWritten(decoded, frame);
  }

  /** The same for a frame whose pages somebody else has written to the image. Throws OperationError. */
  applyWritten(said: Omit<DecodedPages, "contents">, frame: Uint8Array): void {
    const { firstPage } = this.geometry.regions[said.region];
    const { pages, kinds, count, sequence } = said;
    this.requireOpen();
    for (let i = 0; i < count; i++) {
      const page = firstPage + pages[i];
      this.dirty[page >> 3] |= 1 << (page & 7);
      this.records[recordKindNames[kinds[i] - 1]]++;
    }
    try {
      if (this.delta !== null) this.appendDelta(frame);
    } catch (error) {
      throw storeError(`Cannot write ${this.directory}`, error);
    }
    this.lastSequence = sequence;
    this.syncInBackground(count * pageBytes);
  }

  /** Takes a frame of a disk, whose blocks are elsewhere, with the kinds of its records. Throws OperationError. */
  applyDisk(frame: Uint8Array, sequence: number, kinds: Uint8Array): void {
    this.requireOpen();
    try {
      for (const kind of kinds) this.records[recordKindNames[kind - 1]]++;
      if (this.delta !== null) this.appendDelta(frame);
    } catch (error) {
      throw storeError(`Cannot write ${this.directory}`, error);
    }
    this.lastSequence = sequence;
  }

  /** Completes the generation durably, but does not put it in force. Returns the manifest. Throws OperationError. */
  async finish(start: ManifestStart, parts: GenerationParts): Promise<Manifest> {
    const { digests, device, disks, root } = parts;
    try {
      await this.syncing;
      if (this.failure) throw this.failure;
      const files: Partial<Record<string, ManifestFile>> = {
        "ram.img": { bytes: this.geometry.totalPages * pageBytes },
        digests: { bytes: digests.length },
        device: await this.writeWhole("device", device.frames, true),
      };
      await this.writeWhole("digests", [digests], false);
      if (this.delta !== null) {
        const trailer = { frames: this.deltaFrames + 1, records: this.records, dirty: this.dirty };
        this.appendDelta(encodeDeltaTrailer(this.core, trailer, this.lastSequence + 1));
        files["delta"] = { bytes: this.deltaBytes, digest: toHex(this.deltaHasher.digest(32)) };
        await syncData(this.delta);
      }
      await syncData(this.image);
      const id = this.base && { generation: this.base.manifest.generation, root: this.base.manifest.root };
      const manifest: Manifest = {
        ...start,
        format: start.seed ? 3 : disks.length === 0 ? 1 : 2,
        disks,
        base: id,
        root: toHex(root),
        regions: this.geometry.regions,
        deviceBytes: device.bytes,
        deviceDigest: toHex(device.digest),
        records: this.records,
        files,
      };
      await this.writeWhole("manifest.json", [encodeManifest(this.core, manifest)], false);
      await syncDirectory(this.directory);
      this.close();
      return manifest;
    } catch (error) {
      throw storeError(`Cannot complete ${this.directory}`, error);
    }
  }

  /** Puts a finished generation in force under its number. */
  async commit(manifest: Manifest): Promise<StoredGeneration> {
    const directory = join(this.generationsPath, String(manifest.generation));
    try {
      await rename(this.directory, directory);
      this.directory = directory;
      await syncDirectory(this.generationsPath);
    } catch (error) {
      throw storeError(`Cannot put generation ${manifest.generation} in force`, error);
    }
    return { manifest, directory, below: this.base === null ? [] : [this.base, ...this.base.below] };
  }

  /** Removes everything that was written, also if it is in force already. */
  async discard(): Promise<void> {
    await this.syncing?.catch(() => {});
    this.close();
    if (basename(this.directory).startsWith(partialPrefix)) {
      await rm(this.directory, { recursive: true, force: true });
    } else await removeFolder(this.directory);
  }

  /** Its descriptors may be those of other files as soon as they were closed. */
  private requireOpen(): void {
    if (this.failure) throw storeError(`Cannot write ${this.directory}`, this.failure);
    if (!this.open) throw new OperationError("failed", `Cannot write ${this.directory}: it was given up`);
  }

  private close(): void {
    if (!this.open) return;
    this.open = false;
    this.deltaHasher.release();
    closeSync(this.image);
    if (this.delta !== null) closeSync(this.delta);
  }

  private writeRun(page: number, count: number, pointer: number): void {
    const length = count * pageBytes;
    for (let at = 0; at < length; ) {
      at += writeSync(this.image, this.core.bytes(), pointer + at, length - at, page * pageBytes + at);
    }
  }

  private appendDelta(frame: Uint8Array): void {
    const file = this.delta as number;
    for (let at = 0; at < frame.length; )
      at += writeSync(file, frame, at, frame.length - at, this.deltaBytes + at);
    this.deltaBytes += frame.length;
    this.deltaFrames++;
    this.deltaHasher.update(frame);
  }

  private syncInBackground(bytes: number): void {
    this.unsyncedBytes += bytes;
    if (this.unsyncedBytes < syncEveryBytes || this.syncing !== null) return;
    this.unsyncedBytes = 0;
    this.syncing = syncData(this.image)
      .catch((error: unknown) => {
        this.failure = error;
      })
      .finally(() => {
        this.syncing = null;
      });
  }

  private async writeWhole(
    name: string,
    parts: readonly Uint8Array[],
    digest: boolean,
  ): Promise<ManifestFile> {
    const hasher = this.core.createHasher();
    let bytes = 0;
    const file = await open(join(this.directory, name), "wx", 0o600);
    try {
      for (const part of parts) {
        await file.writeFile(part);
        bytes += part.length;
        if (digest) hasher.update(part);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    return digest ? { bytes, digest: toHex(hasher.digest(32)) } : { bytes };
  }
}

/** Starts writing a generation in a new folder beside the complete ones. Throws OperationError, also if its number is taken. */
export function beginGeneration(
  core: Core,
  generationsPath: string,
  target: { vm: string; generation: number; legId: string },
  geometry: Geometry,
  base: StoredGeneration | null,
): GenerationWriter {
  const directory = join(generationsPath, `${partialPrefix}${target.legId}`);
  const final = join(generationsPath, String(target.generation));
  if (existsSync(final)) {
    // Found out now rather than at the commit, when the source has let go of the VM.
    throw new OperationError(
      "failed",
      `Cannot begin generation ${target.generation}: ${final} is already there`,
    );
  }
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return new GenerationWriter(core, geometry, base, { generationsPath, directory, ...target });
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw storeError(`Cannot begin a generation of ${target.vm}`, error);
  }
}
