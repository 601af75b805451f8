/** What a verification of stores found: findings, harmless notes, and what can still be restored. */

import type { VerifyFinding, VerifyNote } from "../../src/verify/report.ts";

export {
  FindingLog,
  type VerifyFinding,
  type VerifyNote,
  type VerifyProgress,
} from "../../src/verify/report.ts";

/** One generation of a VM. */
export interface GenerationReport {
  readonly generation: number;
  readonly directory: string;
  /** Root digest; null if there is no readable manifest. */
  readonly root: string | null;
  /** Nothing was found wrong with its own files. */
  readonly intact: boolean;
  /** A VM can be restarted from it: it is no seed, and its content and that of everything under it is what the root says. */
  readonly restorable: boolean;
  /** It is only there to be built on. */
  readonly seed: boolean;
}

/** One VM of one store. */
export interface VmReport {
  readonly vm: string;
  readonly path: string;
  /** Name of the branch that this is about; null: the VM's generations. */
  readonly branch: string | null;
  readonly generations: readonly GenerationReport[];
  /** Newest generation that can be restarted; null if none can. */
  readonly newestRestorable: number | null;
  /** Bytes of disks that were read and compared with their digests. */
  readonly diskBytes: number;
}

/** Everything that a verification says. */
export interface VerifyReport {
  readonly vms: readonly VmReport[];
  /** Generations that were looked at. */
  readonly generations: number;
  /** Bytes of disks that were read and compared with their digests. */
  readonly diskBytes: number;
  /** Files that were given by themselves: only their structure and checksums were checked. */
  readonly looseFiles: number;
  readonly findings: readonly VerifyFinding[];
  readonly notes: readonly VerifyNote[];
}
