/** What a verification found: findings, harmless notes, and what can still be restored. */

/** Something that is not as it must be. */
export interface VerifyFinding {
  /** File or folder. */
  readonly path: string;
  readonly generation?: number;
  /** Name of the region that `page` counts in. */
  readonly region?: string;
  /** First page concerned, counted in its region. */
  readonly page?: number;
  /** Name of the disk that the finding is about. */
  readonly disk?: string;
  /** First block of the disk concerned, of 4096 bytes. */
  readonly block?: number;
  /** How many blocks are concerned. */
  readonly blocks?: number;
  /** Position of the first block in the disk, in bytes. */
  readonly diskOffset?: number;
  /** Position in the file, in bytes. */
  readonly offset?: number;
  readonly problem: string;
}

/** Something worth knowing that harms nothing, such as what an interrupted leg left behind. */
export interface VerifyNote {
  readonly path: string;
  readonly note: string;
}

/** One generation of a VM. */
export interface GenerationReport {
  readonly generation: number;
  readonly directory: string;
  /** Root digest; null if there is no readable manifest. */
  readonly root: string | null;
  /** Nothing was found wrong with its own files. */
  readonly intact: boolean;
  /** A VM can be restarted from it: its content and that of everything under it is what the root says. */
  readonly restorable: boolean;
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

/** How far a verification is. Bytes of page images, deltas and disks; how much of the disks is found on the way. */
export interface VerifyProgress {
  readonly vm: string;
  readonly generation: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** Collects findings and notes, and hands findings on as they come. */
export class FindingLog {
  readonly findings: VerifyFinding[] = [];
  readonly notes: VerifyNote[] = [];
  private readonly onFinding: (finding: VerifyFinding) => void;

  constructor(onFinding: (finding: VerifyFinding) => void = () => {}) {
    this.onFinding = onFinding;
  }

  add(finding: VerifyFinding): void {
    this.findings.push(finding);
    this.onFinding(finding);
  }

  note(path: string, note: string): void {
    this.notes.push({ path, note });
  }
}
