/**
 * The manifest of a generation: what it is, what it stands on, and which files hold it.
 *
 * The file is one line of canonical JSON, `{"manifest":{…},"digest":"…"}`, where the digest is the unkeyed
 * BLAKE3-256 of the text of `manifest` as it stands in the file. Decoding demands the canonical form, so
 * that no bit of the file can change unseen.
 */

import { fromHex, toHex } from "../bytes.ts";
import type { Core } from "../core.ts";
import type { RecordCounts } from "../delta/vocabulary.ts";
import { recordKindNames } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import { checkDisks, type DiskShape } from "./disks.ts";
import { placeRegions, type Region } from "./geometry.ts";

/** Versions of the store's formats: a generation with disks has 2, one without has 1, a seed has 3. */
export const manifestFormats = [1, 2, 3] as const;
/** Version of the store's formats. */
export type ManifestFormat = (typeof manifestFormats)[number];

/** Longest manifest that is read. */
export const maxManifestBytes = 1 << 20;

/** Names a generation and its content: the same number with another root is another generation. */
export interface GenerationId {
  readonly generation: number;
  /** Root digest, 64 hexadecimal digits. */
  readonly root: string;
}

/** A file of a generation. */
export interface ManifestFile {
  readonly bytes: number;
  /** Unkeyed BLAKE3-256; absent where page digests already cover the content. */
  readonly digest?: string;
}

/** Files that a generation can have. */
export const generationFileNames = ["ram.img", "digests", "device", "delta"] as const;
/** Name of one of a generation's files. */
export type GenerationFileName = (typeof generationFileNames)[number];

/** Accelerators of QEMU that this program knows. */
export const accelerators = ["kvm", "tcg"] as const;
/** What ran a VM. */
export type Accelerator = (typeof accelerators)[number];

/** A disk of a generation. */
export interface ManifestDisk extends DiskShape {
  /** Id of the image in this site's store that holds the disk's content; sites have different ones. */
  readonly image: string;
}

/** Ids of images: the disk's name and eight hexadecimal digits. */
export const imageIdPattern = /^[a-z][a-z0-9-]{0,14}-[0-9a-f]{8}$/;

/** What a manifest says. */
export interface Manifest extends GenerationId {
  readonly format: ManifestFormat;
  readonly vm: string;
  /** Ownership epoch that the handover of this generation began. */
  readonly epoch: number;
  /** Site that the VM left. */
  readonly from: string;
  /** Site that the VM went to. */
  readonly to: string;
  /** Time of the switchover, of a seed that of its oldest page; ISO 8601, UTC, by the clock of the site that wrote it. */
  readonly createdAt: string;
  /** Machine type as the stream names it. */
  readonly machine: string;
  /** What ran the VM: device state of one accelerator does not fit another. */
  readonly accelerator: Accelerator;
  /** The generation that `delta` and the overlay `ram.img` stand on here; null: `ram.img` is complete. */
  readonly base: GenerationId | null;
  readonly regions: readonly Region[];
  /** Empty in format 1, which has no such field in the file. */
  readonly disks: readonly ManifestDisk[];
  /** In format 3 only: something to build on that cannot be restarted. It is not of one instant and has no device state. */
  readonly seed?: true;
  readonly deviceBytes: number;
  /** Keyed BLAKE3-256 of the device state. */
  readonly deviceDigest: string;
  readonly records: RecordCounts;
  readonly files: Readonly<Partial<Record<GenerationFileName, ManifestFile>>>;
}

/** True if a generation is only there to be built on: no VM can be restarted from it. */
export function isSeed(manifest: Pick<Manifest, "format">): boolean {
  return manifest.format === 3;
}

/** The file's content for a manifest. */
export function encodeManifest(core: Core, manifest: Manifest): Uint8Array {
  const text = JSON.stringify(canonical(manifest));
  const digest = toHex(core.blake3(new TextEncoder().encode(text)));
  return new TextEncoder().encode(`{"manifest":${text},"digest":"${digest}"}\n`);
}

/** Reads and checks a manifest file. Throws FormatError. */
export function decodeManifest(core: Core, bytes: Uint8Array): Manifest {
  if (bytes.length > maxManifestBytes) {
    throw new FormatError(
      "bad-length",
      `Cannot read manifest: ${bytes.length} bytes exceed ${maxManifestBytes}`,
    );
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new FormatError("bad-value", "Cannot read manifest: it is not JSON");
  }
  const outer = asObject(parsed, "the file");
  const inner = asObject(outer["manifest"], "manifest");
  if (!manifestFormats.includes(inner["format"] as ManifestFormat)) {
    throw new FormatError(
      "bad-version",
      `Cannot read manifest: format ${JSON.stringify(inner["format"])} is not supported, only ${manifestFormats.join(", ")} are`,
    );
  }
  const manifest: Manifest = { ...canonical(inner as unknown as Manifest), disks: disksOf(inner) };
  check(manifest);
  const again = encodeManifest(core, manifest);
  if (again.length !== bytes.length || again.some((byte, i) => byte !== bytes[i])) {
    throw new FormatError("bad-checksum", "Cannot accept manifest: its digest or its form does not match");
  }
  return manifest;
}

/** The disks that a manifest file names; none in format 1. */
function disksOf(inner: Record<string, unknown>): ManifestDisk[] {
  if (inner["format"] === 1) return [];
  return asArray(inner["disks"], "disks").map((value) => {
    const { name, lengthBytes, image } = asObject(value, "disk") as unknown as ManifestDisk;
    return { name, lengthBytes, image };
  });
}

/** The same manifest with its fields in the order of the format; without disks in format 1, with `seed` in format 3. */
function canonical(manifest: Manifest): Omit<Manifest, "disks"> & { disks?: ManifestDisk[] } {
  const id = (value: GenerationId | null): GenerationId | null =>
    value === null ? null : { generation: asObject(value, "base")["generation"] as number, root: value.root };
  const files: Partial<Record<GenerationFileName, ManifestFile>> = {};
  const given = asObject(manifest.files, "files") as Record<string, ManifestFile | undefined>;
  for (const name of generationFileNames) {
    const file = given[name];
    if (file)
      files[name] =
        file.digest === undefined ? { bytes: file.bytes } : { bytes: file.bytes, digest: file.digest };
  }
  const records = asObject(manifest.records, "records") as unknown as RecordCounts;
  return {
    format: manifest.format,
    vm: manifest.vm,
    generation: manifest.generation,
    root: manifest.root,
    epoch: manifest.epoch,
    from: manifest.from,
    to: manifest.to,
    createdAt: manifest.createdAt,
    machine: manifest.machine,
    accelerator: manifest.accelerator,
    base: id(manifest.base),
    regions: asArray(manifest.regions, "regions").map((value) => {
      const { name, kind, lengthBytes } = asObject(value, "region") as unknown as Region;
      return { name, kind, lengthBytes };
    }),
    ...(manifest.format === 1 ? {} : { disks: disksOf(manifest as unknown as Record<string, unknown>) }),
    ...(manifest.format === 3 && manifest.seed !== undefined ? { seed: manifest.seed } : {}),
    deviceBytes: manifest.deviceBytes,
    deviceDigest: manifest.deviceDigest,
    records: Object.fromEntries(recordKindNames.map((name) => [name, records[name]])) as RecordCounts,
    files,
  };
}

function check(manifest: Manifest): void {
  for (const field of ["vm", "from", "to", "createdAt", "machine"] as const) {
    if (typeof manifest[field] !== "string" || manifest[field].length > 255) bad(field);
  }
  if (!accelerators.includes(manifest.accelerator)) bad("accelerator");
  if (!isCount(manifest.generation) || manifest.generation < 1) bad("generation");
  if (!isCount(manifest.epoch) || manifest.epoch < 1) bad("epoch");
  if (!isDigest(manifest.root)) bad("root");
  if (!isDigest(manifest.deviceDigest)) bad("deviceDigest");
  if (!isCount(manifest.deviceBytes)) bad("deviceBytes");
  if (manifest.base !== null) {
    if (!isCount(manifest.base.generation) || manifest.base.generation >= manifest.generation) bad("base");
    if (!isDigest(manifest.base.root)) bad("base");
  }
  for (const name of recordKindNames) if (!isCount(manifest.records[name])) bad(`records.${name}`);
  for (const region of manifest.regions) {
    if (typeof region.name !== "string" || region.kind !== "ram") bad("regions");
  }
  placeRegions(manifest.regions);
  const hasDisks = manifest.disks.length > 0;
  if ((manifest.format === 1 && hasDisks) || (manifest.format === 2 && !hasDisks)) bad("disks");
  if ((manifest.format === 3) !== (manifest.seed === true)) bad("seed");
  if (isSeed(manifest) && manifest.deviceBytes !== 0) bad("deviceBytes");
  checkDisks(manifest.disks);
  for (const { image } of manifest.disks) {
    if (typeof image !== "string" || !imageIdPattern.test(image)) bad("disks");
  }
  for (const [name, file] of Object.entries(manifest.files)) {
    if (!isCount(file.bytes) || (file.digest !== undefined && !isDigest(file.digest))) bad(`files.${name}`);
  }
  const required = manifest.base === null ? ["ram.img", "digests", "device"] : generationFileNames;
  for (const name of required) if (!(name in manifest.files)) bad(`files.${name}`);
}

function bad(field: string): never {
  throw new FormatError("bad-value", `Cannot read manifest: ${field} is missing or not valid`);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && value.length === 64 && toHex(fromHex(value)) === value;
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) bad(what);
  return value as Record<string, unknown>;
}

function asArray(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) bad(what);
  return value;
}
