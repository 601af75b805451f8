/** What the check of a generation needs of its disks. Who knows where images lie checks them; others leave them out. */

import type { DecodedPages } from "../delta/page-decoder.ts";
import type { DiskTop } from "../generation/digest-tree.ts";
import type { Manifest } from "../generation/manifest.ts";

/** Checks the disks of a VM's generations. */
export interface DiskChecks {
  /** Looks at the disks of a generation and adds what can be said without its root. Release the result. */
  examine(manifest: Manifest, onBytes: (bytes: number) => void): Promise<ExaminedDisks>;
}

/** The disks of a generation, open. */
export interface ExaminedDisks {
  /** True if there are disks and nobody looked at them: then nothing can be compared with the root. */
  readonly areLeftOut: boolean;
  /** False if the digests of a disk are not to be had. */
  readonly haveTops: boolean;
  /** The tops for which `givesRoot` says yes, of those that are stored and those that contents have. Null: none. */
  findTops(givesRoot: (tops: readonly DiskTop[]) => boolean): readonly DiskTop[] | null;
  /** `base`: what the delta is replayed on; null if it is not. `tops` are those that give the root, if known. */
  replay(base: CheckedDisks | null, tops: readonly DiskTop[] | null): DiskReplay;
  /** Adds the findings that depend on which digests are right. */
  conclude(tops: readonly DiskTop[] | null): CheckedDisks;
  release(): void;
}

/** Disks that were checked, for generations that stand on them. */
export interface CheckedDisks {
  /** Their contents are what the root says. */
  readonly areGood: boolean;
}

/** Takes the frames of disks in a delta, disks by their number. Close it. */
export interface DiskReplay {
  /** Content of a block of the base to the core's memory; zeroes where it cannot be had. */
  readBase(disk: number, block: number, target: number): void;
  /** Takes the records of a frame; `newDigests` points to the digests of their contents. */
  take(disk: number, decoded: DecodedPages, newDigests: number): void;
  /** All frames were replayed: adds findings. `path` is the delta's. */
  report(path: string, generation: number): void;
  close(): void;
}

/** For a verifier that has generations' own files and nothing else. */
export const disksLeftOut: DiskChecks = {
  examine: async ({ disks }) => ({
    areLeftOut: disks.length > 0,
    haveTops: disks.length === 0,
    findTops: (givesRoot) => (disks.length === 0 && givesRoot([]) ? [] : null),
    replay: () => ({ readBase: () => {}, take: () => {}, report: () => {}, close: () => {} }),
    conclude: () => ({ areGood: disks.length === 0 }),
    release: () => {},
  }),
};
