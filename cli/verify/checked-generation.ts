/** What is known of a generation while it is checked, and after. */

import type { Core } from "../../src/core.ts";
import type { DiskTop, PageDigests } from "../../src/generation/digest-tree.ts";
import type { StoredGeneration } from "../store/generation-reader.ts";
import type { CheckedDisk, ExaminedDisks } from "./disk-check.ts";
import type { UsableFiles } from "./inventory.ts";
import type { FindingLog } from "./report.ts";
import type { VmImages } from "./vm-images.ts";

/** What checks have in common. */
export interface CheckContext {
  readonly core: Core;
  readonly log: FindingLog;
  readonly key: Uint8Array;
  readonly images: VmImages;
  /** Leaves out contents of pages and disks. */
  readonly quick: boolean;
  readonly onBytes: (bytes: number) => void;
}

/** A generation that was checked, for those that stand on it. */
export interface CheckedGeneration {
  readonly stored: StoredGeneration;
  /** True if its digests file gives its root. */
  readonly digestsGood: boolean;
  /** The right digests if those of the file are damaged and the contents are not. */
  readonly rightDigests: Uint8Array | null;
  /** Pages whose content, read through the chain, is not what the root says; null if that is not known. */
  readonly wrong: Uint8Array | null;
  readonly disks: readonly CheckedDisk[];
  /** Nothing was found in its own folder. */
  readonly intact: boolean;
  readonly restorable: boolean;
}

/** A generation while it is checked. */
export interface GenerationClaims {
  readonly stored: StoredGeneration;
  /** What it stands on; null if it is complete or its base is not there. */
  readonly base: CheckedGeneration | null;
  readonly files: UsableFiles;
  /** What the digests file says; zeroes if there is no such file. */
  readonly digests: PageDigests;
  readonly hasDigests: boolean;
  readonly digestsGood: boolean;
  readonly disks: ExaminedDisks;
  /** Tops of the disks with which the digests file gives the root; null if it does not. */
  readonly tops: readonly DiskTop[] | null;
}
