/** The files of a generation's folder against its manifest: all there, with their lengths, and nothing else. */

import { pageBytes } from "../delta/vocabulary.ts";
import { digestBytes } from "../generation/digest-tree.ts";
import type { Geometry } from "../generation/geometry.ts";
import { type GenerationFileName, generationFileNames, type Manifest } from "../generation/manifest.ts";
import { type GenerationFiles, pathIn } from "./generation-files.ts";
import type { FindingLog } from "./report.ts";

/** What a name begins with that was never completed, or is on its way out (docs/FORMAT.md). */
const partialPrefix = ".partial-";

/** Files of the manifest that are there with their lengths. */
export type UsableFiles = ReadonlySet<GenerationFileName>;

/** Compares a folder with its manifest. Reads no file. */
export function checkInventory(
  log: FindingLog,
  files: GenerationFiles,
  manifest: Manifest,
  geometry: Geometry,
): UsableFiles {
  const { generation } = manifest;
  const add = (name: string, problem: string) => log.add({ path: pathIn(files, name), generation, problem });
  const lengths: Partial<Record<GenerationFileName, number>> = {
    "ram.img": geometry.totalPages * pageBytes,
    digests: geometry.totalPages * digestBytes,
  };
  const usable = new Set<GenerationFileName>();
  const present = files.list();
  for (const name of generationFileNames) {
    const listed = manifest.files[name];
    if (listed === undefined) continue;
    const expected = lengths[name];
    if (expected !== undefined && expected !== listed.bytes) {
      add("manifest.json", `it says ${listed.bytes} bytes for ${name}, its regions need ${expected}`);
    }
    if (expected === undefined && listed.digest === undefined) {
      add("manifest.json", `it has no digest for ${name}`);
    }
    const entry = present.get(name);
    if (entry === undefined) add(name, "the file is missing");
    else if (entry.obstacle !== null) add(name, entry.obstacle);
    else if (entry.sizeBytes !== listed.bytes) {
      add(name, `it has ${entry.sizeBytes} bytes, ${listed.bytes} expected`);
    } else usable.add(name);
  }
  for (const name of present.keys()) {
    const listed = manifest.files[name as GenerationFileName] !== undefined;
    if (listed || name === "manifest.json") continue;
    if (name.startsWith(partialPrefix)) log.note(pathIn(files, name), "left over by something interrupted");
    else if (name === "delta" && manifest.base === null) {
      log.note(
        pathIn(files, name),
        "left over by an interrupted compaction; the image beside it is complete",
      );
    } else add(name, "the manifest does not list it");
  }
  return usable;
}
