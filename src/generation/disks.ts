/** The disks of a VM as a generation and a leg see them: arrays of 4096-byte blocks beside the page space of RAM. */

import type { RegionExtent } from "../delta/page-decoder.ts";
import { pageBytes } from "../delta/vocabulary.ts";
import { FormatError } from "../errors.ts";
import type { Geometry } from "./geometry.ts";

/** A disk's name and size. */
export interface DiskShape {
  /** The id of the VM's definition; see `isDiskName`. */
  readonly name: string;
  /** Virtual size, a multiple of 512; the last block may be shorter and reads as zero beyond the end. */
  readonly lengthBytes: number;
}

/** Limits on what a peer, a manifest or a definition may declare. */
export const diskLimits = { disks: 32, nameCharacters: 15, sectorBytes: 512, lengthBytes: 2 ** 44 } as const;

const namePattern = /^[a-z][a-z0-9-]{0,14}$/;

/** Rule for names of disks, for messages. */
export const diskNameRule = "1 to 15 characters: lower-case letters, digits and '-', a letter first";

/** True if the text can name a disk: it becomes part of file names and of names in QEMU. */
export function isDiskName(name: string): boolean {
  return namePattern.test(name);
}

/** Number of 4096-byte blocks, the last of which may be shorter. */
export function blocksOf(lengthBytes: number): number {
  return Math.ceil(lengthBytes / pageBytes);
}

/** Throws FormatError if names repeat or are not valid, or a length is not a positive multiple of 512 within the limits. */
export function checkDisks(disks: readonly DiskShape[]): void {
  const fail = (what: string): never => {
    throw new FormatError("bad-value", `Cannot use disks: ${what}`);
  };
  if (disks.length > diskLimits.disks) fail(`${disks.length} exceed ${diskLimits.disks}`);
  const names = new Set<string>();
  for (const { name, lengthBytes } of disks) {
    if (typeof name !== "string" || !isDiskName(name))
      fail(`${JSON.stringify(shown(name).slice(0, 80))} is not a name: ${diskNameRule}`);
    if (names.has(name)) fail(`the name ${name} occurs twice`);
    names.add(name);
    const isLength = Number.isSafeInteger(lengthBytes) && lengthBytes > 0;
    if (!isLength || lengthBytes > diskLimits.lengthBytes || lengthBytes % diskLimits.sectorBytes !== 0) {
      fail(`${name} has ${shown(lengthBytes)} bytes`);
    }
  }
}

/** A value of JSON for a message; String alone throws on an object with a member `toString`. */
function shown(value: unknown): string {
  return typeof value === "string" ? value : String(JSON.stringify(value));
}

/**
 * Extents of the regions that frames name by index: those of RAM, then the disks. A disk's blocks are numbered on
 * from the page space, so that one number names a page or a block.
 */
export function frameExtents(geometry: Geometry, disks: readonly DiskShape[]): RegionExtent[] {
  const extents: RegionExtent[] = [...geometry.regions];
  let firstPage = geometry.totalPages;
  for (const { lengthBytes } of disks) {
    const pages = blocksOf(lengthBytes);
    extents.push({ firstPage, pages, isDisk: true });
    firstPage += pages;
  }
  return extents;
}

/** What differs between two lists of disks, for messages; null if nothing does. Order counts. */
export function diskDifference(ours: readonly DiskShape[], theirs: readonly DiskShape[]): string | null {
  for (const [i, disk] of ours.entries()) {
    const other = theirs[i];
    if (other?.name !== disk.name) return `disk ${disk.name} is missing or in another place`;
    if (other.lengthBytes !== disk.lengthBytes) {
      return `disk ${disk.name} has ${disk.lengthBytes} bytes here and ${other.lengthBytes} there`;
    }
  }
  return theirs.length > ours.length ? `disk ${theirs[ours.length].name} is not expected` : null;
}
