/** Goes through the moments of a recorded run, lets the power fail at each of them, and checks what is left. */

import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadCore } from "../../src/core.ts";
import { CrashModel, type Fates, fatesOf, type State, seededRandom } from "./crash-states.ts";
import { describeOperation, type Operation } from "./operations.ts";
import { scratchFolder } from "./recorder.ts";
import type { Snapshot } from "./snapshot.ts";
import { stateKey } from "./state-key.ts";
import { type Expected, emptyFolder, findProblems } from "./store-check.ts";

/** How thoroughly. */
export interface ExplorationOptions {
  /** Random states at each moment, beside those that are always tried. */
  readonly samples: number;
  readonly seed: number;
  /** After so many bad states the rest is left out. */
  readonly maxViolations: number;
  /** Tells states apart by what is in files too that nothing reads. */
  readonly isExhaustive: boolean;
  /** The step after which it begins; without it, all are looked at. */
  readonly from: string | null;
}

/** A power loss after which the store is not in order. */
export interface Violation {
  /** The last operation that was done, and during or after which step. */
  readonly moment: string;
  /** What of the changes that were not durable was not simply lost. */
  readonly fates: readonly string[];
  readonly problems: readonly string[];
}

/** What was looked at. */
export interface Exploration {
  readonly moments: number;
  /** Different states that were checked. */
  readonly states: number;
  readonly violations: readonly Violation[];
}

const usual: ExplorationOptions = { samples: 4, seed: 1, maxViolations: 5, isExhaustive: false, from: null };

/** Checks all moments from the first mark on. */
export async function explore(
  operations: readonly Operation[],
  given: Partial<ExplorationOptions> = {},
): Promise<Exploration> {
  const options = { ...usual, ...given };
  const scratch = scratchFolder();
  try {
    return await exploreIn(scratch, operations, options);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function exploreIn(
  scratch: string,
  operations: readonly Operation[],
  { samples, seed, maxViolations, isExhaustive, from }: ExplorationOptions,
): Promise<Exploration> {
  const core = await loadCore();
  const model = new CrashModel(operations);
  const random = seededRandom(seed);
  const states = new Set<string>();
  const asked = new Set<number>();
  const violations: Violation[] = [];
  let moments = 0;
  mkdirSync(join(scratch, "pool"));
  for (const { count, expected } of momentsOf(operations, from)) {
    moments++;
    const pending = model.pending(count);
    for (const fates of fatesOf(pending, random, samples)) {
      const state = model.state(count, fates);
      const key = `${expected.before.step} ${expected.after.step} ${stateKey(state, isExhaustive)}`;
      if (states.has(key)) continue;
      states.add(key);
      const root = join(scratch, "state");
      materialise(state, root, join(scratch, "pool"));
      // Whether leftovers disturb it does not depend on which ones were kept: that is asked once for each moment.
      const isFirst = !asked.has(count);
      asked.add(count);
      const problems = await findProblems(core, root, expected, isFirst);
      if (problems.length === 0) continue;
      violations.push(violation(operations, count, expected, fates, problems));
      if (violations.length >= maxViolations) return { moments, states: states.size, violations };
    }
  }
  return { moments, states: states.size, violations };
}

interface Moment {
  /** The power fails after so many operations. */
  readonly count: number;
  readonly expected: Expected;
}

function* momentsOf(operations: readonly Operation[], from: string | null): Generator<Moment> {
  const marks = operations.flatMap((operation, i) =>
    operation.kind === "mark" ? [{ at: i, snapshot: JSON.parse(operation.text) as Snapshot }] : [],
  );
  const first = marks.findIndex(({ snapshot }) => from === null || snapshot.step === from);
  if (first < 0) throw new Error(`Cannot begin after ${from}: there is no such step`);
  for (const [i, { at, snapshot }] of marks.entries()) {
    if (i < first) continue;
    const next = marks[i + 1];
    yield { count: at + 1, expected: { before: snapshot, after: snapshot } };
    for (let count = at + 2; next && count <= next.at; count++) {
      yield { count, expected: { before: snapshot, after: next.snapshot } };
    }
  }
}

/** Files are links to a pool of contents: the check removes files, but writes to none. */
function materialise(state: State, root: string, pool: string): void {
  emptyFolder(root);
  for (const [path, file] of state) {
    if (file === null) {
      mkdirSync(join(root, path));
      continue;
    }
    const content = join(pool, file.key);
    if (!existsSync(content)) writeFileSync(content, file.content(), { mode: 0o600 });
    linkSync(content, join(root, path));
  }
}

function violation(
  operations: readonly Operation[],
  count: number,
  { before, after }: Expected,
  fates: Fates,
  problems: readonly string[],
): Violation {
  const last = operations[count - 1];
  const during = before === after ? `after ${before.step}` : `while it would ${after.step}`;
  const told = operations.flatMap((operation) => {
    const fate = fates.get(operation.seq);
    return fate === undefined || fate === "lost" ? [] : [`${fate}: ${describeOperation(operation)}`];
  });
  return { moment: `${during}, done last: ${describeOperation(last)}`, fates: told, problems };
}
