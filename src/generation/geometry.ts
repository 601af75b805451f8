/** The regions of a VM and the one page space that they share. */

import type { RegionExtent } from "../delta/page-decoder.ts";
import { pageBytes } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";

/** A RAM block, as QEMU names it. Disks: disks.ts. */
export interface Region {
  readonly name: string;
  readonly kind: "ram";
  readonly lengthBytes: number;
}

/** A region with its place in the page space. */
export interface PlacedRegion extends Region, RegionExtent {
  readonly index: number;
}

/** All regions of a generation; the main RAM block is the first. */
export interface Geometry {
  readonly regions: readonly PlacedRegion[];
  readonly totalPages: number;
}

/** Limits on what a stream, a peer or a manifest may declare. */
export const geometryLimits = { regions: 64, nameBytes: 255, pages: 2 ** 30 } as const;

/**
 * Places regions one after the other.
 * Throws FormatError if names repeat, or a length is not a positive multiple of 4096 within the limits.
 */
export function placeRegions(regions: readonly Region[]): Geometry {
  const fail = (what: string): never => {
    throw new FormatError("bad-value", `Cannot use regions: ${what}`);
  };
  if (regions.length === 0 || regions.length > geometryLimits.regions) fail(`${regions.length} of them`);
  const placed: PlacedRegion[] = [];
  const names = new Set<string>();
  let firstPage = 0;
  for (const [index, { name, kind, lengthBytes }] of regions.entries()) {
    if (name.length === 0 || name.length > geometryLimits.nameBytes)
      fail(`a name has ${name.length} characters`);
    if (names.has(name)) fail(`the name ${JSON.stringify(name)} occurs twice`);
    names.add(name);
    // It comes from JSON: text would divide like a number.
    const pages = typeof lengthBytes === "number" ? lengthBytes / pageBytes : Number.NaN;
    if (!Number.isSafeInteger(pages) || pages <= 0) fail(`${name} has ${JSON.stringify(lengthBytes)} bytes`);
    placed.push({ name, kind, lengthBytes, index, firstPage, pages });
    firstPage += pages;
    if (firstPage > geometryLimits.pages) fail(`more than ${geometryLimits.pages} pages`);
  }
  return { regions: placed, totalPages: firstPage };
}

/** The regions without their places, as manifests and messages carry them. */
export function plainRegions(geometry: Geometry): Region[] {
  return geometry.regions.map(({ name, kind, lengthBytes }) => ({ name, kind, lengthBytes }));
}

/** True if both describe the same regions in the same order. */
export function sameGeometry(a: Geometry, b: Geometry): boolean {
  return (
    a.regions.length === b.regions.length &&
    a.regions.every((region, i) => {
      const other = b.regions[i];
      return (
        region.name === other.name && region.kind === other.kind && region.lengthBytes === other.lengthBytes
      );
    })
  );
}
