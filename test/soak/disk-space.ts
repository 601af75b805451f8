/** What files take on a disk. */

import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/** Linux counts blocks in these units, whatever the file system. */
const blockBytes = 512;

/** Bytes allocated to all files below a folder. What vanishes meanwhile, folders too, is not counted. */
export async function bytesUnder(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(unlessGone)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) total += await bytesUnder(path);
    if (!entry.isFile()) continue;
    const found = await lstat(path).catch(() => null);
    total += (found?.blocks ?? 0) * blockBytes;
  }
  return total;
}

function unlessGone(error: NodeJS.ErrnoException): [] {
  if (error.code === "ENOENT") return [];
  throw error;
}
