/** Folders of the store, which may not be there yet. */

import { readdir } from "node:fs/promises";

/** Names in a folder; none if there is no such folder. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
