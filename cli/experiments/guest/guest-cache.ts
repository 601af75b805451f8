/** Where guests that were made once are kept: a folder of ours, filled under another name and then renamed. */

import { mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { makePrivateFolder } from "../../qemu/unix-socket.ts";

/** What is kept under which name. */
export interface CachedFolder {
  /** Environment variable that names the folder to keep it in; else it is one among the system's temporary files. */
  readonly variable: string;
  /** Name of the folder among the temporary files, to which the user's number is added. */
  readonly place: string;
  /** Name of what is kept: it must change with what it is made from. */
  readonly name: string;
}

/**
 * Gives back the folder, filled. `make` is called if it is not there, with an empty folder for work, removed at the
 * end, and one to fill.
 */
export async function cachedFolder(
  { variable, place, name }: CachedFolder,
  make: (work: string, made: string) => Promise<void>,
): Promise<string> {
  const cache = await cacheFolder(variable, place);
  const folder = join(cache, name);
  if (await isFolder(folder)) return folder;
  const work = await mkdtemp(join(cache, "making-"));
  try {
    const made = join(work, "made");
    await mkdir(made);
    await make(work, made);
    // Another process may have been quicker: then its folder stays, and this one is removed.
    await rename(made, folder).catch(async (error) => {
      if (!(await isFolder(folder))) throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return folder;
}

async function cacheFolder(variable: string, place: string): Promise<string> {
  const chosen = process.env[variable];
  if (chosen !== undefined && chosen !== "") {
    await mkdir(chosen, { recursive: true });
    return resolve(chosen);
  }
  // Everybody may write to the folder of temporary files: what we run from there must be ours.
  const folder = join(tmpdir(), `${place}-${process.getuid?.() ?? 0}`);
  await makePrivateFolder(folder);
  return folder;
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
}
