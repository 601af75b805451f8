/**
 * Inputs as files.
 *
 *     test/fuzz/corpus/<target>/<digest>              found by a run: reached code, or an answer, that nothing reached before
 *     test/fuzz/corpus/<target>/regression-<what>     made a decoder fail once
 */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../project/project-files.ts";

/** Folder of the corpus in the repository. */
export const corpusFolder = join(projectRoot, "test", "fuzz", "corpus");

/** Limits of what `--save` adds: the whole corpus stays below 300 KB. */
const savedBytesMax = 10 << 10;
const savedFilesMax = 40;

/** The saved inputs of a target, by the names of their files. */
export function readCorpus(target: string): Map<string, Uint8Array> {
  const folder = join(corpusFolder, target);
  const found = new Map<string, Uint8Array>();
  for (const name of namesIn(folder).sort())
    found.set(name, new Uint8Array(readFileSync(join(folder, name))));
  return found;
}

/** Adds inputs to the corpus, as far as they are small. Returns how many were added. */
export function saveInputs(target: string, inputs: readonly Uint8Array[]): number {
  const folder = join(corpusFolder, target);
  const saved = readCorpus(target);
  let bytes = [...saved.values()].reduce((sum, { length }) => sum + length, 0);
  let added = 0;
  for (const input of inputs) {
    const name = digestOf(input);
    if (saved.has(name) || saved.size + added >= savedFilesMax || bytes + input.length > savedBytesMax)
      continue;
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, name), input);
    bytes += input.length;
    added++;
  }
  return added;
}

/** Writes an input that failed; returns the path. */
export function writeReproducer(folder: string, target: string, input: Uint8Array): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${target}-${digestOf(input)}`);
  writeFileSync(path, input);
  return path;
}

/** Name of an input. */
export function digestOf(input: Uint8Array): string {
  return createHash("sha256").update(input).digest("hex").slice(0, 12);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
