/** What a verification says: findings, harmless notes, and how far it is. */

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

/** How far a verification is. Bytes of page images, deltas and disks; how much of the disks is found on the way. */
export interface VerifyProgress {
  readonly vm: string;
  readonly generation: number;
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Milliseconds that the rest will take at the pace so far; null while there is none. */
  readonly etaMs: number | null;
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
