/** What an export finds wrong with a generation: pages and blocks in runs, and files that do not fit. */

/** One thing that is wrong. */
export interface ExportFinding {
  /** Region of RAM or disk that is meant; null if it is none. */
  readonly where: string | null;
  /** First page or block of a run whose content is not what was committed, and how many; null if none is meant. */
  readonly first: number | null;
  readonly count: number | null;
  readonly problem: string;
}

/** Most findings that are kept; what comes after them is counted. */
const maxFindings = 1000;

/** Collects findings; pages one after the other become one run. */
export class DamageLog {
  readonly findings: ExportFinding[] = [];
  /** Findings beyond those that are kept. */
  omitted = 0;
  private run: { where: string; unit: string; first: number; count: number } | null = null;

  /** A page or block (`unit`) of `where` has another digest than it should have. Numbers come in ascending order. */
  wrong(where: string, unit: "page" | "block", number: number): void {
    const { run } = this;
    if (run?.where === where && run.unit === unit && run.first + run.count === number) {
      run.count++;
      return;
    }
    this.endRun();
    this.run = { where, unit, first: number, count: 1 };
  }

  add(where: string | null, problem: string): void {
    this.endRun();
    this.keep({ where, first: null, count: null, problem });
  }

  /** True if nothing is wrong so far. */
  get isEmpty(): boolean {
    this.endRun();
    return this.findings.length === 0;
  }

  private endRun(): void {
    const { run } = this;
    if (run === null) return;
    this.run = null;
    const { where, unit, first, count } = run;
    const which = count === 1 ? `${unit} ${first}` : `${unit}s ${first} to ${first + count - 1}`;
    this.keep({ where, first, count, problem: `${which}: not the content that the digests tell` });
  }

  private keep(finding: ExportFinding): void {
    if (this.findings.length < maxFindings) this.findings.push(finding);
    else this.omitted++;
  }
}
