/**
 * The thread that fuzzes. Before each input it writes the input to memory that it shares with the thread that
 * watches it, so that an input that never ends, or takes all memory, is known.
 */

import { parentPort, workerData } from "node:worker_threads";
import { readCorpus } from "./corpus.ts";
import { CoverageMap, CoverageSession } from "./coverage.ts";
import { Engine, type EngineCounts } from "./engine.ts";
import { judge, type Outcome } from "./oracle.ts";
import { Random } from "./random.ts";
import type { Target } from "./target.ts";
import { Watched } from "./watched.ts";

/** What the thread is started with. */
export interface WorkerSetup {
  readonly shared: SharedArrayBuffer;
  /** URL of the module that exports `targetLoaders`. */
  readonly targetsUrl: string;
  /** False: outcomes are the only feedback. */
  readonly useCoverage: boolean;
}

/** What the thread is asked to do. It answers each with events and then "done". */
export type Job =
  | {
      readonly kind: "fuzz";
      readonly target: string;
      readonly seed: string;
      /** At most so many inputs, and so much time; whatever comes first. */
      readonly inputs: number;
      readonly milliseconds: number;
      /** Inputs that a thread which is gone has kept. */
      readonly more: readonly Uint8Array[];
    }
  | { readonly kind: "replay"; readonly target: string; readonly input: Uint8Array };

/** What it tells. */
export type Told =
  | { readonly kind: "kept"; readonly target: string; readonly input: Uint8Array }
  | {
      readonly kind: "failed";
      readonly target: string;
      readonly input: Uint8Array;
      readonly outcome: Outcome;
    }
  | { readonly kind: "outcome"; readonly outcome: Outcome }
  | { readonly kind: "done"; readonly counts: EngineCounts | null }
  | { readonly kind: "broken"; readonly error: string };

/** Loaders of targets by their names. */
export type TargetLoaders = Readonly<Record<string, () => Promise<Target>>>;

const port = parentPort;
if (port === null) throw new Error("Cannot fuzz: this is not a worker thread");
const { shared, targetsUrl, useCoverage } = workerData as WorkerSetup;
const watched = new Watched(shared);
const tell = (told: Told): void => port.postMessage(told);

// First: what is compiled before has no block counters.
const session = useCoverage ? new CoverageSession() : null;
const { targetLoaders } = (await import(targetsUrl)) as { targetLoaders: TargetLoaders };
const loaded = new Map<string, Promise<Target>>();
const engines = new Map<string, Engine>();

port.on("message", (job: Job) => {
  run(job).catch((error: unknown) =>
    tell({ kind: "broken", error: String((error as Error).stack ?? error) }),
  );
});

async function run(job: Job): Promise<void> {
  const target = await targetOf(job.target);
  if (job.kind === "replay") {
    watched.begin(job.input);
    const outcome = await judge(target, job.input);
    watched.idle();
    tell({ kind: "outcome", outcome });
    tell({ kind: "done", counts: null });
    return;
  }
  const engine = engines.get(job.target) ?? (await start(target, job));
  const end = performance.now() + job.milliseconds;
  const last = engine.counts.inputs + job.inputs;
  while (performance.now() < end && engine.counts.inputs < last && !engine.isGivenUp) {
    await engine.fuzz(Math.min(64, last - engine.counts.inputs));
  }
  watched.idle();
  tell({ kind: "done", counts: { ...engine.counts } });
}

async function start(target: Target, job: Extract<Job, { kind: "fuzz" }>): Promise<Engine> {
  const { name } = target;
  const coverage = session === null ? null : new CoverageMap(session);
  const engine = new Engine(target, new Random(`${job.seed} ${name}`), coverage, {
    begin: (input) => watched.begin(input),
    kept: (input) => tell({ kind: "kept", target: name, input }),
    failed: (input, outcome) => tell({ kind: "failed", target: name, input, outcome }),
  });
  engines.set(name, engine);
  await engine.prime([...readCorpus(name).values(), ...job.more]);
  return engine;
}

async function targetOf(name: string): Promise<Target> {
  const found = loaded.get(name) ?? (targetLoaders[name] as () => Promise<Target>)();
  loaded.set(name, found);
  return await found;
}
