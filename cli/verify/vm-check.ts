/** Checks the generations of one VM in a store, and what lies beside them. */

import { lstatSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { bytesToRead, checkChain, type FoundGeneration } from "../../src/verify/chain-check.ts";
import { Pacing } from "../../src/verify/pacing.ts";
import { CorePageHasher, type PageHasher } from "../../src/verify/page-hashing.ts";
import { ProgressMeter } from "../../src/verify/progress-meter.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { branchesFolder } from "../store/branches.ts";
import { FileOwnershipRegister } from "../store/ownership.ts";
import { readManifest } from "../store/vm-store.ts";
import { checkBranchRecords } from "./branch-records.ts";
import { orFinding } from "./damage.ts";
import { readDigestKey } from "./digest-key.ts";
import { StoreDiskChecks } from "./disk-check.ts";
import { filesOfFolder } from "./folder-files.ts";
import { checkHolders } from "./holder-check.ts";
import { checkImageFolder } from "./image-inventory.ts";
import { FindingLog, type VerifyProgress, type VmReport } from "./report.ts";
import type { VmTarget } from "./targets.ts";
import { VmImages } from "./vm-images.ts";

/** Longest ownership record that is read. */
const maxOwnershipBytes = 1 << 20;

/** Options that reach every VM. */
export interface VmCheckOptions {
  readonly keyPaths: readonly string[];
  readonly quick: boolean;
  /** Replays deltas also in a naive way. */
  readonly crossCheck?: boolean;
  /** What makes digests of the pages of so many bytes of images; null, or without it: this thread. */
  readonly hasherFor?: (imageBytes: number) => PageHasher | null;
  readonly onProgress: (progress: VerifyProgress) => void;
}

interface Found {
  readonly directory: string;
  readonly manifest: Manifest | null;
}

/** Checks what a target names. Throws OperationError "usage" if the VM's digest key is not to be had. */
export async function checkVm(
  core: Core,
  log: FindingLog,
  target: VmTarget,
  options: VmCheckOptions,
): Promise<VmReport> {
  const { quick, crossCheck = false } = options;
  const found = await readManifests(core, log, target);
  const vm = target.vm ?? nameOf(found) ?? basename(target.generationsPath);
  const key = await readDigestKey(`Cannot verify ${vm}`, vm, target.storePath, options.keyPaths);
  if (target.storePath !== null && target.only === null) await checkOwnership(log, target.storePath, vm);
  const images = new VmImages(log, dirname(target.generationsPath));
  const manifests = [...found.values()].map(({ manifest }) => manifest);
  const fixedBytes = bytesToRead(manifests, quick);
  const diskBytes = quick ? 0 : await allocatedBytes(target, found.values());
  // What a disk takes in the file system is only a guess at what is to be read of it.
  const total = () => fixedBytes + Math.max(diskBytes, images.bytesRead);
  const meter = new ProgressMeter(vm, total, options.onProgress);
  const imageBytes = manifests.reduce((sum, manifest) => sum + (manifest?.files["ram.img"]?.bytes ?? 0), 0);
  const threads = options.hasherFor?.(imageBytes) ?? null;
  const own = threads ? null : new CorePageHasher(core);
  const hasher = threads ?? (own as PageHasher);
  const disks = new StoreDiskChecks({ core, key, images, quick });
  const context = {
    core,
    log,
    key,
    hasher,
    disks,
    quick,
    crossCheck,
    pacing: new Pacing(undefined, () => setImmediate()),
  };
  const generations: FoundGeneration[] = [...found].map(([generation, { directory, manifest }]) => ({
    generation,
    files: filesOfFolder(directory),
    manifest,
  }));
  const verdicts = await checkChain(context, generations, (generation, bytes) =>
    meter.add(generation, bytes),
  ).finally(() => own?.release());
  const reports = verdicts.map(({ generation, files, manifest, intact, restorable }) => {
    const seed = manifest !== null && isSeed(manifest);
    return { generation, directory: files.path, root: manifest?.root ?? null, intact, restorable, seed };
  });
  if (target.only === null) {
    const branches = await checkBranchRecords(core, log, vm, dirname(target.generationsPath));
    await checkImageFolder(log, images, manifests, branches);
    await checkHolders({ core, log, key, vmPath: dirname(target.generationsPath), manifests });
  }
  const last = reports.at(-1);
  if (diskBytes > 0 && last) meter.end(last.generation);
  const newestRestorable = reports.findLast(({ restorable }) => restorable)?.generation ?? null;
  const path = dirname(target.generationsPath);
  const branch = basename(target.generationsPath) === branchesFolder ? target.only : null;
  return { vm, path, branch, generations: reports, newestRestorable, diskBytes: images.bytesRead };
}

function nameOf(found: ReadonlyMap<number, Found>): string | null {
  for (const { manifest } of found.values()) if (manifest) return manifest.vm;
  return null;
}

/** Manifests by the generations' numbers: of all folders, or of one and those under it. */
async function readManifests(core: Core, log: FindingLog, target: VmTarget): Promise<Map<number, Found>> {
  const { generationsPath, only } = target;
  const found = new Map<number, Found>();
  if (only === null) {
    for (const name of readdirSync(generationsPath).sort()) {
      const directory = join(generationsPath, name);
      const generation = numberOf(log, directory);
      if (generation !== null)
        found.set(generation, await readFolder(core, log, target, directory, generation));
    }
    return found;
  }
  const first = await readFolder(core, log, target, join(generationsPath, only), null);
  found.set(first.manifest?.generation ?? 0, first);
  for (let base = first.manifest?.base ?? null; base !== null; ) {
    const directory = join(generationsPath, String(base.generation));
    if (!isFolder(directory)) break;
    const below = await readFolder(core, log, target, directory, base.generation);
    found.set(base.generation, below);
    base = below.manifest?.base ?? null;
  }
  return found;
}

/** The number that a folder under `generations` has by its name; null, with a finding, if it has none. */
function numberOf(log: FindingLog, directory: string): number | null {
  const name = basename(directory);
  if (name.startsWith(partialPrefix)) {
    log.note(directory, "left over by something interrupted");
    return null;
  }
  const stat = lstatSync(directory);
  const number = /^[1-9][0-9]{0,14}$/.test(name) ? Number(name) : null;
  if (stat.isSymbolicLink())
    log.add({ path: directory, problem: "it is a symbolic link and was not followed" });
  else if (number === null || !stat.isDirectory())
    log.add({ path: directory, problem: "it is not a generation" });
  else return number;
  return null;
}

function isFolder(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** `generation` is what the folder's name says; null if that does not count. */
async function readFolder(
  core: Core,
  log: FindingLog,
  target: VmTarget,
  directory: string,
  generation: number | null,
): Promise<Found> {
  const path = join(directory, "manifest.json");
  const about = generation === null ? { path } : { path, generation };
  const manifest = await orFinding(log, about, async () => {
    requireRegular(path);
    const read = await readManifest(core, directory);
    const fits =
      (generation === null || read.generation === generation) &&
      (target.vm === null || read.vm === target.vm);
    if (!fits) throw new FormatError("mismatch", `it is of generation ${read.generation} of ${read.vm}`);
    return read;
  });
  return { directory, manifest };
}

async function checkOwnership(log: FindingLog, storePath: string, vm: string): Promise<void> {
  const path = join(storePath, vm, "ownership");
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return;
  await orFinding(log, { path }, () => {
    const { size } = requireRegular(path);
    if (size > maxOwnershipBytes) throw new FormatError("bad-length", `it has ${size} bytes, too many`);
    return new FileOwnershipRegister(storePath).read(vm);
  });
}

/** Throws FormatError unless it is a regular file: a link is not followed, and nobody waits for a pipe. */
function requireRegular(path: string): { size: number } {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) throw new FormatError("bad-value", "it is a symbolic link and was not followed");
  if (!stat.isFile()) throw new FormatError("bad-value", "it is not a regular file");
  return stat;
}

/** Bytes that the file system has for the images of all generations. */
async function allocatedBytes({ generationsPath }: VmTarget, found: Iterable<Found>): Promise<number> {
  // What is wrong with them is told when their generations are checked.
  const images = new VmImages(new FindingLog(), dirname(generationsPath));
  const paths = new Set<string>();
  for (const { manifest } of found) {
    for (const { name, lengthBytes, image } of manifest?.disks ?? []) {
      const chain = await images.chain(image, { name, lengthBytes }, manifest?.generation);
      for (const one of chain ?? []) paths.add(images.store.pathOf(one));
    }
  }
  let total = 0;
  for (const path of paths) total += (lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  return total;
}
