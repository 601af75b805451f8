/** What is known of a generation while it is checked, and after. */

import type { Core } from "../core.ts";
import type { DiskTop } from "../generation/digest-tree.ts";
import type { Geometry } from "../generation/geometry.ts";
import type { Manifest } from "../generation/manifest.ts";
import type { ChainLevel } from "./chain-content.ts";
import type { DigestMemory, DigestWindows } from "./digest-windows.ts";
import type { CheckedDisks, DiskChecks, ExaminedDisks } from "./disk-checks.ts";
import type { GenerationFiles } from "./generation-files.ts";
import type { UsableFiles } from "./inventory.ts";
import type { Pacing } from "./pacing.ts";
import type { PageHasher } from "./page-hashing.ts";
import type { FindingLog } from "./report.ts";

/** What checks have in common. */
export interface CheckContext {
  readonly core: Core;
  readonly log: FindingLog;
  /** The VM's digest key, 32 bytes. */
  readonly key: Uint8Array;
  readonly hasher: PageHasher;
  readonly disks: DiskChecks;
  /** Leaves out contents of pages and disks. */
  readonly quick: boolean;
  /** Pages of the largest generation of which damaged digests are told from damaged contents: 64 bytes a page. */
  readonly toldPages?: number | undefined;
  /** Replays deltas also in the naive way. */
  readonly crossCheck: boolean;
  readonly pacing: Pacing;
  /** Of the digests of the generation at hand, where these are needed at once. */
  readonly digestMemory: DigestMemory;
  readonly onBytes: (bytes: number) => void;
}

/** A generation whose manifest was read. */
export interface HeldGeneration {
  readonly manifest: Manifest;
  readonly files: GenerationFiles;
}

/** Pages that are wrong: a bitmap over the page space, "none", or null if that is not known. */
export type WrongPages = Uint8Array | "none" | null;

/** A generation that was checked, for those that stand on it. */
export interface CheckedGeneration extends HeldGeneration {
  /** What it stands on; null if it is complete or its base is not there. */
  readonly base: CheckedGeneration | null;
  /** True if its digests file gives its root, or if only disks that were left out keep that from being known. */
  readonly digestsGood: boolean;
  /** Digest of each window of its digests file, so that it can be read again; null if it cannot. */
  readonly digestSums: Uint8Array | null;
  /** The right digests if those of the file are damaged and the contents are not; released with the last on it. */
  rightDigests: Uint8Array | null;
  /** Pages that have a record in its delta; null if it is complete, or nothing says it. */
  readonly dirty: Uint8Array | null;
  /** Pages whose content, read through the chain, is not what the root says. */
  readonly wrong: WrongPages;
  readonly disks: CheckedDisks;
  /** Nothing was found in its own folder. */
  readonly intact: boolean;
  /** Its content and that of everything under it is what the root says. */
  readonly isRight: boolean;
}

/** A generation while it is checked. */
export interface GenerationClaims extends HeldGeneration {
  readonly geometry: Geometry;
  /** What it stands on; null if it is complete or its base is not there. */
  readonly base: CheckedGeneration | null;
  readonly usable: UsableFiles;
  /** What the digests file says; zeroes if there is no such file, nothing if there is no image either. */
  readonly digests: DigestWindows;
  readonly hasDigests: boolean;
  readonly digestsGood: boolean;
  readonly disks: ExaminedDisks;
  /** Tops of the disks with which the digests file gives the root; null if it does not. */
  readonly tops: readonly DiskTop[] | null;
}

/** The chain of a generation down to a complete one; null if it does not get there, or a bitmap is missing. */
export function chainOf(generation: CheckedGeneration): ChainLevel[] | null {
  const chain: ChainLevel[] = [];
  for (let level: CheckedGeneration | null = generation; level !== null; level = level.base) {
    const { files, dirty, manifest } = level;
    chain.push({ files, dirty });
    if (manifest.base === null) return chain;
    if (dirty === null) return null;
  }
  return null;
}
