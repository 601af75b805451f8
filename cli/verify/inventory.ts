/** The files of a generation's folder against its manifest: all there, with their lengths, and nothing else. */

import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import type { Geometry } from "../../src/generation/geometry.ts";
import {
  type GenerationFileName,
  generationFileNames,
  type Manifest,
} from "../../src/generation/manifest.ts";
import { partialPrefix } from "../store/atomic-file.ts";
import type { FindingLog } from "./report.ts";

/** Files of the manifest that are there with their lengths. */
export type UsableFiles = ReadonlySet<GenerationFileName>;

/** Compares a folder with its manifest. Reads no file. */
export function checkInventory(
  log: FindingLog,
  directory: string,
  manifest: Manifest,
  geometry: Geometry,
): UsableFiles {
  const { generation } = manifest;
  const add = (name: string, problem: string) =>
    log.add({ path: join(directory, name), generation, problem });
  const lengths: Partial<Record<GenerationFileName, number>> = {
    "ram.img": geometry.totalPages * pageBytes,
    digests: geometry.totalPages * digestBytes,
  };
  const usable = new Set<GenerationFileName>();
  const present = new Set(readdirSync(directory));
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
    if (!present.has(name)) {
      add(name, "the file is missing");
      continue;
    }
    const stat = lstatSync(join(directory, name));
    if (stat.isSymbolicLink()) add(name, "it is a symbolic link and was not followed");
    else if (!stat.isFile()) add(name, "it is not a regular file");
    else if (stat.size !== listed.bytes) add(name, `it has ${stat.size} bytes, ${listed.bytes} expected`);
    else usable.add(name);
  }
  for (const name of present) {
    const listed = manifest.files[name as GenerationFileName] !== undefined;
    if (listed || name === "manifest.json") continue;
    if (name.startsWith(partialPrefix)) log.note(join(directory, name), "left over by something interrupted");
    else if (name === "delta" && manifest.base === null) {
      log.note(
        join(directory, name),
        "left over by an interrupted compaction; the image beside it is complete",
      );
    } else add(name, "the manifest does not list it");
  }
  return usable;
}
