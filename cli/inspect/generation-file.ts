/** Explains the files that only a manifest beside them gives a meaning: `ram.img` and `digests`. */

import { lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { type PlacedRegion, placeRegions } from "../../src/generation/geometry.ts";
import type { Manifest } from "../../src/generation/manifest.ts";
import { OperationError } from "../errors.ts";
import { readManifest } from "../store/vm-store.ts";
import { type OpenFile, readFully, windowBytes } from "../verify/file-window.ts";
import { drawBitmap } from "./dirty-picture.ts";
import { isZeroPage } from "./zero-page.ts";

/** A region's part of the file. */
export interface RegionLine {
  readonly name: string;
  readonly pages: number;
  /** Position of its first page, or first digest, in the file. */
  readonly offset: number;
  /** Pages that are not zero; null for digests. */
  readonly filledPages: number | null;
  readonly picture: readonly string[];
}

/** The file as a whole. */
export interface GenerationFileSummary {
  readonly kind: "image" | "digests";
  readonly bytes: number;
  readonly vm: string;
  readonly generation: number;
  /** True if pages that are not here are found in the base. */
  readonly isOverlay: boolean;
  readonly regions: readonly RegionLine[];
}

/** True if the file can only be explained with the manifest beside it. */
export function needsManifest(path: string): boolean {
  const name = basename(path);
  return (name === "ram.img" || name === "digests") && isThere(join(dirname(path), "manifest.json"));
}

/** Explains `ram.img` or `digests`. Throws OperationError or FormatError if the manifest does not fit. */
export async function inspectGenerationFile(
  core: Core,
  path: string,
  file: OpenFile,
): Promise<GenerationFileSummary> {
  const manifest: Manifest = await readManifest(core, dirname(path));
  const geometry = placeRegions(manifest.regions);
  const isImage = basename(path) === "ram.img";
  const perPage = isImage ? pageBytes : digestBytes;
  const expected = geometry.totalPages * perPage;
  if (file.size !== expected) {
    throw new OperationError(
      "failed",
      `Cannot inspect ${path}: it has ${file.size} bytes, ${expected} expected`,
    );
  }
  return {
    kind: isImage ? "image" : "digests",
    bytes: file.size,
    vm: manifest.vm,
    generation: manifest.generation,
    isOverlay: manifest.base !== null,
    regions: geometry.regions.map((region) => ({
      name: region.name,
      pages: region.pages,
      offset: region.firstPage * perPage,
      ...(isImage ? filledPages(file, region) : { filledPages: null, picture: [] }),
    })),
  };
}

function filledPages(file: OpenFile, region: PlacedRegion): Pick<RegionLine, "filledPages" | "picture"> {
  const filled = new Uint8Array(Math.ceil(region.pages / 8));
  const window = new Uint8Array(windowBytes);
  const windowPages = windowBytes / pageBytes;
  let count = 0;
  for (let first = 0; first < region.pages; first += windowPages) {
    const pages = Math.min(windowPages, region.pages - first);
    readFully(file, window.subarray(0, pages * pageBytes), (region.firstPage + first) * pageBytes);
    for (let i = 0; i < pages; i++) {
      if (isZeroPage(window, i * pageBytes)) continue;
      filled[(first + i) >> 3] |= 1 << ((first + i) & 7);
      count++;
    }
  }
  return { filledPages: count, picture: drawBitmap(filled, region.pages) };
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
