/** Writes a generation as plain files: RAM raw or as a migration stream, each disk as one image. */

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { toHex } from "../../src/bytes.ts";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import type { DiskTop } from "../../src/generation/digest-tree.ts";
import { type Geometry, placeRegions } from "../../src/generation/geometry.ts";
import { isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { messageOf, OperationError } from "../errors.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import type { FoundGeneration } from "../store/find-generation.ts";
import { readDeviceState } from "../store/generation-reader.ts";
import { DamageLog, type ExportFinding } from "./damage-log.ts";
import { readDisk } from "./disk-content.ts";
import { type DiskFormat, diskFile } from "./disk-file.ts";
import { type OutputFile, OutputFolder } from "./output-folder.ts";
import { readRam } from "./ram-content.ts";
import { RawRam, rawFileName, StreamRam } from "./ram-files.ts";

/** Name of the migration stream, and of the list of what was written. */
const streamFileName = "migration.stream";
const listFileName = "export.json";

/** The forms in which RAM is written. */
export type RamFormat = "raw" | "stream";

/** What is wanted. */
export interface ExportOptions {
  readonly outPath: string;
  readonly format: RamFormat;
  readonly diskFormat: DiskFormat;
  /** Files that are there are replaced. */
  readonly force: boolean;
  /** The files are written although the content is not what was committed. */
  readonly damaged: boolean;
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
}

/** One file that was written. */
export interface ExportedFile {
  readonly file: string;
  readonly kind: "ram" | "stream" | "disk";
  /** Region or disk that it holds; null for a stream, which has all regions. */
  readonly name: string | null;
  readonly bytes: number;
}

/** What was written; export.json says it too. */
export interface ExportResult {
  readonly vm: string;
  readonly generation: number;
  readonly root: string;
  readonly machine: string;
  readonly accelerator: string;
  readonly createdAt: string;
  /** True if every page, every block and the device state are what the root covers. */
  readonly intact: boolean;
  readonly files: readonly ExportedFile[];
  readonly findings: readonly ExportFinding[];
  readonly omittedFindings: number;
}

/**
 * Exports a generation; `key` is the VM's digest key. Nothing gets its name before all is written and checked. Throws
 * OperationError: "verificationFailed" with what is wrong if the content is damaged and `damaged` is not given, or if
 * it cannot be read at all; "refused" if files are in the way.
 */
export async function exportGeneration(
  core: Core,
  found: FoundGeneration,
  key: Uint8Array,
  options: ExportOptions,
): Promise<ExportResult> {
  const { manifest } = found.generation;
  if (isSeed(manifest)) {
    throw new OperationError(
      "usage",
      `Cannot export generation ${manifest.generation} of ${manifest.vm}: it is a seed, whose memory is not of one instant; ` +
        "export one that can be restarted",
    );
  }
  const geometry = placeRegions(manifest.regions);
  const names = fileNames(manifest, geometry, options);
  if (manifest.disks.length > 0 && found.images === null) {
    throw new OperationError(
      "usage",
      `Cannot export ${manifest.vm}: it has disks, and images are only found in a store`,
    );
  }
  const folder = await OutputFolder.open(options.outPath, [...names, listFileName], {
    force: options.force,
    source: found.storePath ?? found.generation.directory,
  });
  try {
    const log = new DamageLog();
    const written = await writeAll(core, found, key, options, { folder, geometry, log });
    const { findings, isEmpty, omitted } = log;
    if (!isEmpty && !options.damaged) throw new DamagedExport(manifest, findings, omitted);
    const result: ExportResult = {
      vm: manifest.vm,
      generation: manifest.generation,
      root: manifest.root,
      machine: manifest.machine,
      accelerator: manifest.accelerator,
      createdAt: manifest.createdAt,
      intact: isEmpty,
      files: written.map(({ file, kind, name }) => ({
        file: file.name,
        kind,
        name,
        bytes: file.lengthBytes,
      })),
      findings,
      omittedFindings: omitted,
    };
    const list = folder.create(listFileName);
    list.append(new TextEncoder().encode(`${JSON.stringify({ format: 1, ...result }, null, 2)}\n`));
    await folder.commit();
    return result;
  } catch (error) {
    folder.discard();
    throw asUnreadable(error, manifest);
  }
}

/** The content is not what was committed; `findings` say where. */
export class DamagedExport extends OperationError {
  readonly findings: readonly ExportFinding[];
  readonly omitted: number;

  constructor({ vm, generation }: Manifest, findings: readonly ExportFinding[], omitted: number) {
    super(
      "verificationFailed",
      `Cannot export generation ${generation} of ${vm}: its content is damaged; --damaged writes it all the same`,
    );
    this.findings = findings;
    this.omitted = omitted;
  }
}

interface Writing {
  readonly folder: OutputFolder;
  readonly geometry: Geometry;
  readonly log: DamageLog;
}

type Written = Pick<ExportedFile, "kind" | "name"> & { readonly file: OutputFile };

async function writeAll(
  core: Core,
  found: FoundGeneration,
  key: Uint8Array,
  options: ExportOptions,
  { folder, geometry, log }: Writing,
): Promise<Written[]> {
  const { generation, images } = found;
  const { manifest } = generation;
  const total = [...manifest.regions, ...manifest.disks].reduce(
    (sum, { lengthBytes }) => sum + lengthBytes,
    0,
  );
  let done = 0;
  const onBytes = (bytes: number) => {
    done += bytes;
    options.onProgress(done, total);
  };
  const device = await deviceState(core, found, key, options, log);
  const written: Written[] = [];
  let stream: StreamRam | null = null;
  let taker: RawRam | StreamRam;
  if (options.format === "stream") {
    const file = folder.create(streamFileName);
    written.push({ kind: "stream", name: null, file });
    stream = new StreamRam(core, geometry, manifest.machine, file);
    taker = stream;
  } else {
    const files = geometry.regions.map((region) => folder.create(rawFileName(region)));
    for (const [i, { name }] of geometry.regions.entries())
      written.push({ kind: "ram", name, file: files[i] });
    taker = new RawRam(core, geometry, files);
  }
  const digests = await readRam(core, key, generation, taker, log, onBytes);
  try {
    if (device !== null) stream?.finish(device);
    const tops: DiskTop[] = [];
    for (const disk of images === null ? [] : manifest.disks) {
      const file = folder.create(diskFileName(disk.name, options.diskFormat));
      written.push({ kind: "disk", name: disk.name, file });
      const target = diskFile(core, file, options.diskFormat, disk.lengthBytes);
      const scratchPath = join(folder.path, `${partialPrefix}digests-${randomUUID()}`);
      const read = {
        core,
        key,
        images: images as NonNullable<typeof images>,
        disk,
        scratchPath,
        log,
        onBytes,
      };
      tops.push(await readDisk(read, target));
    }
    // Also where the digests beside the content were altered together with it: they do not have the key's root.
    const root = digests.root(device === null ? new Uint8Array(32) : core.blake3(device, key), tops);
    if (log.isEmpty && toHex(root) !== manifest.root) {
      log.add(null, `the root over content and device state is ${toHex(root)}, not ${manifest.root}`);
    }
  } finally {
    digests.release();
  }
  return written;
}

/** The device state; null if it is damaged, where that does not matter for what is written. */
async function deviceState(
  core: Core,
  { generation }: FoundGeneration,
  key: Uint8Array,
  { format }: ExportOptions,
  log: DamageLog,
): Promise<Uint8Array | null> {
  try {
    const device = await readDeviceState(core, generation);
    if (toHex(core.blake3(device, key)) !== generation.manifest.deviceDigest) {
      log.add(null, "device state: not the content that its digest tells, or the key is another VM's");
    }
    return device;
  } catch (error) {
    if (format === "stream") throw error;
    log.add(null, `device state: ${messageOf(error)}`);
    return null;
  }
}

function fileNames({ disks }: Manifest, geometry: Geometry, options: ExportOptions): string[] {
  const ram = options.format === "stream" ? [streamFileName] : geometry.regions.map(rawFileName);
  return [...ram, ...disks.map(({ name }) => diskFileName(name, options.diskFormat))];
}

function diskFileName(name: string, format: DiskFormat): string {
  return `disk-${name}.${format}`;
}

/** What keeps the generation from being read is damage of it; what keeps the files from being written is not. */
function asUnreadable(error: unknown, { vm, generation }: Manifest): unknown {
  if (
    error instanceof OperationError &&
    (error.reason !== "failed" || /^Cannot (write|make)/.test(error.message))
  )
    return error;
  const isRead = error instanceof FormatError || error instanceof OperationError || isMissing(error);
  if (!isRead) return error;
  return new OperationError(
    "verificationFailed",
    `Cannot export generation ${generation} of ${vm}: ${messageOf(error)}`,
    { cause: error },
  );
}

function isMissing(error: unknown): boolean {
  return ["ENOENT", "EIO", "ELOOP", "EISDIR"].includes((error as NodeJS.ErrnoException)?.code ?? "");
}
