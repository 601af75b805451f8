/** What the page and its worker say to each other. The worker does one verification at a time. */

import type { VerifyFinding, VerifyNote } from "../../../src/verify/report.ts";
import type { Chain, PathFile } from "./group-files.ts";
import type { HeatCells } from "./heat-cells.ts";

/** What is to be verified. */
export interface Assignment {
  readonly chains: readonly Chain<Blob>[];
  readonly looseFiles: readonly PathFile<Blob>[];
  /** Keys of 32 bytes; each chain is verified with the one that fits. */
  readonly keys: readonly Uint8Array[];
  /** Leaves the contents of pages out. */
  readonly quick: boolean;
}

/** From the page. */
export type PageMessage =
  | { readonly type: "verify"; readonly assignment: Assignment }
  | { readonly type: "cancel" };

/** From the worker. After `verify` comes exactly one of `done`, `cancelled` and `failed`, at the end. */
export type WorkerMessage =
  | {
      readonly type: "progress";
      readonly what: string;
      readonly doneBytes: number;
      readonly totalBytes: number;
    }
  | { readonly type: "findings"; readonly findings: readonly VerifyFinding[] }
  | { readonly type: "done"; readonly outcome: Outcome }
  | { readonly type: "cancelled" }
  | { readonly type: "failed"; readonly message: string };

/** What a verification found. */
export interface Outcome {
  readonly chains: readonly ChainOutcome[];
  readonly looseFiles: readonly LooseOutcome[];
  readonly notes: readonly VerifyNote[];
  readonly quick: boolean;
}

/** What was found of generations that belong together. */
export interface ChainOutcome {
  readonly name: string;
  /** False if none of the keys is that of this VM: then nothing was verified. Null if that could not be told. */
  readonly keyFits: boolean | null;
  readonly generations: readonly GenerationOutcome[];
}

/** The verdict on a generation. */
export interface GenerationOutcome {
  readonly name: string;
  /** Null if the manifest cannot be read. */
  readonly generation: number | null;
  readonly root: string | null;
  readonly intact: boolean;
  /** False also where there are disks: they are not looked at here. */
  readonly restorable: boolean;
  /** It is only there to be built on. */
  readonly seed: boolean;
  /** Names of its disks; none if the manifest cannot be read. */
  readonly disks: readonly string[];
  readonly heat: readonly HeatCells[];
}

/** A file that was looked at by itself: its structure and its checksums only. */
export interface LooseOutcome {
  readonly path: string;
  readonly isWhole: boolean;
}
