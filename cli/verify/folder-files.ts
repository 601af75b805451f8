/** The folder of a generation in a file system, as verification sees it: never through a symbolic link. */

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { FileEntry, GenerationFiles } from "../../src/verify/generation-files.ts";
import { openFile } from "./file-window.ts";

/** The files in a folder. Its methods throw Node's system errors. */
export function filesOfFolder(directory: string): GenerationFiles {
  return {
    path: directory,
    list: () => new Map(readdirSync(directory).map((name) => [name, entryOf(join(directory, name))])),
    open: (name) => openFile(join(directory, name)),
  };
}

function entryOf(path: string): FileEntry {
  const stat = lstatSync(path);
  const obstacle = stat.isSymbolicLink()
    ? "it is a symbolic link and was not followed"
    : stat.isFile()
      ? null
      : "it is not a regular file";
  return { sizeBytes: stat.size, obstacle };
}
