/** Checks the generations of one VM in their order, so that each one's base was checked before it. */

import { lstatSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import { branchesFolder } from "../store/branches.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import { FileOwnershipRegister } from "../store/ownership.ts";
import { readManifest } from "../store/vm-store.ts";
import { checkBranchRecords } from "./branch-records.ts";
import type { CheckedGeneration } from "./checked-generation.ts";
import { orFinding } from "./damage.ts";
import { readDigestKey } from "./digest-key.ts";
import { checkGeneration } from "./generation-check.ts";
import { checkImageFolder } from "./image-inventory.ts";
import { FindingLog, type GenerationReport, type VerifyProgress, type VmReport } from "./report.ts";
import type { VmTarget } from "./targets.ts";
import { VmImages } from "./vm-images.ts";

/** Options that reach every VM. */
export interface VmCheckOptions {
  readonly keyPaths: readonly string[];
  readonly quick: boolean;
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
  const found = await readManifests(core, log, target);
  const vm = target.vm ?? nameOf(found) ?? basename(target.generationsPath);
  const key = await readDigestKey(vm, target.storePath, options.keyPaths);
  if (target.storePath !== null && target.only === null) await checkOwnership(log, target.storePath, vm);
  const images = new VmImages(log, dirname(target.generationsPath));
  const checked = new Map<number, CheckedGeneration>();
  const reports: GenerationReport[] = [];
  const fixedBytes = bytesToRead(found.values(), options.quick);
  const diskBytes = options.quick ? 0 : await allocatedBytes(target, found.values());
  let doneBytes = 0;
  for (const [generation, { directory, manifest }] of [...found].sort(([a], [b]) => a - b)) {
    const tell = (bytes: number) => {
      doneBytes += bytes;
      // What a disk takes in the file system is only a guess at what is to be read of it.
      const totalBytes = Math.max(doneBytes, fixedBytes + Math.max(diskBytes, images.bytesRead));
      options.onProgress({ vm, generation, doneBytes, totalBytes });
    };
    tell(0);
    if (manifest === null) {
      reports.push({ generation, directory, root: null, intact: false, restorable: false });
      continue;
    }
    const base = findBase(log, directory, manifest, checked);
    const stored: StoredGeneration = {
      manifest,
      directory,
      below: base ? [base.stored, ...base.stored.below] : [],
    };
    const { quick } = options;
    const context = { core, log, key, images, quick, onBytes: tell };
    const result = await orFinding(log, { path: directory, generation }, () =>
      checkGeneration(context, stored, base),
    );
    if (result) checked.set(generation, result);
    const intact = result?.intact === true && (manifest.base === null || base !== null);
    reports.push({
      generation,
      directory,
      root: manifest.root,
      intact,
      restorable: result?.restorable ?? false,
    });
  }
  if (target.only === null) {
    const branches = await checkBranchRecords(core, log, vm, dirname(target.generationsPath));
    await checkImageFolder(
      log,
      images,
      [...found.values()].map(({ manifest }) => manifest),
      branches,
    );
  }
  const last = reports.at(-1);
  if (diskBytes > 0 && last) {
    options.onProgress({ vm, generation: last.generation, doneBytes, totalBytes: doneBytes });
  }
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
    if (lstatSync(path).isSymbolicLink()) {
      throw new FormatError("bad-value", "it is a symbolic link and was not followed");
    }
    const read = await readManifest(core, directory);
    const fits =
      (generation === null || read.generation === generation) &&
      (target.vm === null || read.vm === target.vm);
    if (!fits) throw new FormatError("mismatch", `it is of generation ${read.generation} of ${read.vm}`);
    return read;
  });
  return { directory, manifest };
}

function findBase(
  log: FindingLog,
  directory: string,
  manifest: Manifest,
  checked: ReadonlyMap<number, CheckedGeneration>,
): CheckedGeneration | null {
  const { base, generation } = manifest;
  if (base === null) return null;
  const found = checked.get(base.generation);
  if (found && found.stored.manifest.root === base.root) return found;
  const what = found ? "has another root" : "is not here or not readable";
  log.add({ path: directory, generation, problem: `its base, generation ${base.generation}, ${what}` });
  return null;
}

async function checkOwnership(log: FindingLog, storePath: string, vm: string): Promise<void> {
  const path = join(storePath, vm, "ownership");
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    log.add({ path, problem: "it is a symbolic link and was not followed" });
    return;
  }
  await orFinding(log, { path }, () => new FileOwnershipRegister(storePath).read(vm));
}

function bytesToRead(found: Iterable<Found>, quick: boolean): number {
  let total = 0;
  for (const { manifest } of found) {
    total += manifest?.files.delta?.bytes ?? 0;
    if (!quick) total += manifest?.files["ram.img"]?.bytes ?? 0;
  }
  return total;
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
