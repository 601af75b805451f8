/** Folders of the store: made and removed so that a power loss finds them whole or not at all. */

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { partialPrefix, syncDirectory } from "./atomic-file.ts";

/** Names in a folder; none if there is no such folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/**
 * Makes a folder, and those above it that are missing, mode 0700. When the promise resolves their names survive a power
 * loss: what is synced in a folder later would else be lost with it.
 */
export async function makeFolder(path: string): Promise<void> {
  const wanted = resolve(path);
  const first = await makeMissing(wanted);
  if (first === undefined) {
    // Somebody who died may have made it just before. One that we may not look into was made by somebody else.
    await syncDirectory(dirname(wanted)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EACCES" && error.code !== "EPERM") throw error;
    });
    return;
  }
  const above = dirname(resolve(first));
  for (let folder = wanted; folder !== above; folder = dirname(folder)) await syncDirectory(dirname(folder));
}

/**
 * Makes what is missing; returns the uppermost folder that was made. Step by step: Node's own way never ends where the
 * system takes no names at all, as in /proc.
 */
async function makeMissing(path: string): Promise<string | undefined> {
  try {
    await mkdir(path, { mode: 0o700 });
    return path;
  } catch (error) {
    const found = await stat(path).catch(() => null);
    if (found?.isDirectory()) return undefined;
    const { code } = error as NodeJS.ErrnoException;
    if (found !== null) throw Object.assign(new Error(`${path} is not a folder`), { code });
    if (code !== "ENOENT" || existsSync(dirname(path))) throw error;
  }
  const above = await makeMissing(dirname(path));
  const own = await makeMissing(path);
  return above ?? own;
}

/** Removes a folder with all that is in it: first out of force, durably, so that no part of it is ever taken for whole. */
export async function removeFolder(path: string): Promise<void> {
  const gone = join(dirname(path), `${partialPrefix}removed-${basename(path)}-${randomUUID()}`);
  try {
    await rename(path, gone);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  await syncDirectory(dirname(path));
  await rm(gone, { recursive: true, force: true });
}

/** Removes what was never completed in a folder. Returns the number of files and folders. */
export async function removePartials(path: string): Promise<number> {
  const partial = (await namesIn(path)).filter((name) => name.startsWith(partialPrefix));
  for (const name of partial) await rm(join(path, name), { recursive: true, force: true });
  return partial.length;
}
