/** Finds a generation by its folder, or by VM and number, with nothing but the files: no agent, nothing is written. */

import { lstat, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { Core } from "../../src/core.ts";
import { FormatError } from "../../src/errors.ts";
import { generationFileNames, isSeed, type Manifest } from "../../src/generation/manifest.ts";
import { ImageStore } from "../disk/image-store.ts";
import { messageOf, OperationError } from "../errors.ts";
import { branchesFolder } from "./branches.ts";
import { namesIn } from "./folder.ts";
import type { StoredGeneration } from "./generation-reader.ts";
import { isValidName, nameRule } from "./vm-name.ts";
import { readManifest } from "./vm-store.ts";

/** A generation, and what lies around it. */
export interface FoundGeneration {
  readonly generation: StoredGeneration;
  /** The store that it lies in, beside which its key lies by default; null outside of a store. */
  readonly storePath: string | null;
  /** Images of the VM's disks; null outside of a store. */
  readonly images: ImageStore | null;
}

/** Folders of a VM that hold generations, or states like them. */
const stateFolders = ["generations", branchesFolder];

/**
 * The generation, or the memory of a branch, in a folder. `action` begins the messages. Throws OperationError: "usage"
 * if there is none, "verificationFailed" if it, or what it stands on, cannot be used.
 */
export async function generationAt(core: Core, action: string, path: string): Promise<FoundGeneration> {
  let directory: string;
  try {
    directory = await realpath(path);
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const why = isMissing
      ? `there is no folder ${JSON.stringify(path)}; VMs and numbers of generations need --store`
      : messageOf(error);
    throw new OperationError("usage", `${action}: ${why}`);
  }
  if (!(await namesIn(directory).catch((): string[] => [])).includes("manifest.json")) {
    throw new OperationError("usage", `${action}: ${path} is no folder of a generation`);
  }
  const generation = await withChain(core, action, directory);
  const parent = dirname(directory);
  if (!stateFolders.includes(basename(parent))) return { generation, storePath: null, images: null };
  const vmPath = dirname(parent);
  return { generation, storePath: dirname(vmPath), images: new ImageStore(vmPath) };
}

/** A generation of a VM in a store, the newest that can be restarted if `number` is null. Throws OperationError as `generationAt` does. */
export async function generationOfVm(
  core: Core,
  action: string,
  where: { readonly storePath: string; readonly vm: string; readonly number: number | null },
): Promise<FoundGeneration> {
  const { storePath, vm, number } = where;
  if (!isValidName(vm)) {
    throw new OperationError(
      "usage",
      `${action}: ${JSON.stringify(vm.slice(0, 80))} is no name: ${nameRule}`,
    );
  }
  const folder = join(storePath, vm, "generations");
  const numbers = (await namesIn(folder).catch((): string[] => []))
    .filter((name) => /^[1-9][0-9]*$/.test(name))
    .map(Number)
    .sort((a, b) => a - b);
  const wanted = number ?? (await newestRestartable(core, folder, numbers));
  if (wanted === undefined || !numbers.includes(wanted)) {
    const newest = numbers.length === 0 ? "no generation" : "no generation that can be restarted";
    const which = number === null ? newest : `no generation ${number}`;
    const known = numbers.length > 0 ? `; there are ${numbers.join(", ")}` : "";
    throw new OperationError("usage", `${action}: ${which} of ${vm} is in ${storePath}${known}`);
  }
  return await generationAt(core, action, join(folder, String(wanted)));
}

/** One that cannot be read counts: what is wrong with it is then told. */
async function newestRestartable(
  core: Core,
  folder: string,
  numbers: readonly number[],
): Promise<number | undefined> {
  for (const number of [...numbers].reverse()) {
    const manifest = await readManifest(core, join(folder, String(number))).catch(() => null);
    if (manifest === null || !isSeed(manifest)) return number;
  }
  return undefined;
}

/** The generation with those under it, which lie beside it under their numbers. */
async function withChain(core: Core, action: string, directory: string): Promise<StoredGeneration> {
  const found: { manifest: Manifest; directory: string }[] = [];
  for (let next: string | null = directory; next !== null; ) {
    await checkFiles(action, next);
    const manifest = await manifestIn(core, action, next);
    const above = found.at(-1)?.manifest.base;
    if (above && (above.generation !== manifest.generation || above.root !== manifest.root)) {
      throw damaged(action, next, `generation ${above.generation} with root ${above.root} should be there`);
    }
    if (found.some(({ manifest: { vm } }) => vm !== manifest.vm)) {
      throw damaged(action, next, `it is of another VM, ${manifest.vm}`);
    }
    found.push({ manifest, directory: next });
    next = manifest.base && join(dirname(directory), String(manifest.base.generation));
  }
  let below: readonly StoredGeneration[] = [];
  for (const one of found.reverse()) below = [{ ...one, below }, ...below];
  return below[0] as StoredGeneration;
}

/** Links and pipes are not followed: what they lead to is no part of the store. */
async function checkFiles(action: string, directory: string): Promise<void> {
  for (const name of ["manifest.json", ...generationFileNames]) {
    const stat = await lstat(join(directory, name)).catch(() => null);
    if (stat !== null && !stat.isFile()) throw damaged(action, directory, `${name} is not a regular file`);
  }
}

async function manifestIn(core: Core, action: string, directory: string): Promise<Manifest> {
  try {
    return await readManifest(core, directory);
  } catch (error) {
    const isKnown = error instanceof FormatError || error instanceof OperationError;
    if (!isKnown && (error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw damaged(action, directory, messageOf(error));
  }
}

function damaged(action: string, directory: string, why: string): OperationError {
  return new OperationError("verificationFailed", `${action}: ${directory} is not usable: ${why}`);
}
