/**
 * Runs targets in a worker thread and watches it. An input that does not end within the limit, or takes all of the
 * thread's memory, ends the thread; it is run once more in a fresh thread with more time before it counts as a
 * failure, since a loaded machine can be slow.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { EngineCounts } from "./engine.ts";
import { fail, type Outcome } from "./oracle.ts";
import { Watched, watchedBytes } from "./watched.ts";
import type { Job, Told, WorkerSetup } from "./worker.ts";

const watchIntervalMs = 250;
/** How much longer an input that seemed to hang may take when it is run alone. */
const secondChance = 5;
const harnessBroken = "the harness is broken";

/** Limits of one input. */
export interface CampaignOptions {
  /** URL of the module with the targets; those of this folder if it is not given. */
  readonly targetsUrl?: string;
  readonly useCoverage?: boolean;
  readonly inputMs?: number;
  /** Heap of the thread, in MiB. Buffers are not in it: the oracle watches them. */
  readonly heapMiB?: number;
  readonly onKept?: (target: string, input: Uint8Array) => void;
  readonly onFailed?: (target: string, input: Uint8Array, outcome: Outcome) => void;
}

type ThreadOptions = Required<Pick<CampaignOptions, "targetsUrl" | "useCoverage" | "inputMs" | "heapMiB">>;
type FuzzJob = Omit<Extract<Job, { kind: "fuzz" }>, "kind" | "more">;
type Ended = { readonly counts: EngineCounts | null; readonly outcome: Outcome | null };

/** A fuzzing thread, and the next one when it had to be ended. */
export class Campaign {
  readonly #options: Required<Omit<CampaignOptions, "onKept" | "onFailed">> & CampaignOptions;
  readonly #kept = new Map<string, Uint8Array[]>();
  /** Counts of the thread that runs now, as it told them last, and of those before it. */
  readonly #counts = new Map<string, EngineCounts>();
  readonly #lost = new Map<string, EngineCounts>();
  /** Everything that targets write is in here. */
  readonly #folder = mkdtempSync(join(tmpdir(), "bfmig-fuzz-"));
  #thread: Thread | null = null;
  #restarts = 0;

  constructor(options: CampaignOptions = {}) {
    const targetsUrl = new URL("./targets.js", import.meta.url).href;
    this.#options = { targetsUrl, useCoverage: true, inputMs: 2000, heapMiB: 512, ...options };
  }

  /** Inputs of a target that behaved in a new way. */
  keptOf(target: string): readonly Uint8Array[] {
    return this.#kept.get(target) ?? [];
  }

  /**
   * Fuzzes a target until the job's inputs or its time are used up, or an input ends the thread, and returns the
   * target's counts so far. Throws Error if the target cannot be loaded.
   */
  async fuzz(job: FuzzJob): Promise<EngineCounts> {
    const { target } = job;
    const end = performance.now() + job.milliseconds;
    let { inputs } = job;
    for (;;) {
      const thread = this.#running();
      const seed = this.#restarts === 0 ? job.seed : `${job.seed} restart ${this.#restarts}`;
      const milliseconds = Math.max(0, end - performance.now());
      const begun = thread.count;
      const more = [...this.keptOf(target)];
      const ended = await thread.ask({ kind: "fuzz", target, seed, inputs, milliseconds, more });
      if (ended !== null) {
        this.#counts.set(target, ended.counts as EngineCounts);
        return sum(this.#lost.get(target), ended.counts as EngineCounts);
      }
      if (thread.end.signature === harnessBroken)
        throw new Error(`Cannot fuzz ${target}: ${thread.end.reason}`);
      const lostInputs = thread.count - begun;
      const isFailure = await this.#isFailure(target, thread.end);
      this.#lose(target, { ...noCounts(), inputs: lostInputs, failures: isFailure ? 1 : 0 });
      // It was only slow: the job goes on in the next thread.
      inputs -= lostInputs;
      if (isFailure || inputs <= 0) return this.#lost.get(target) as EngineCounts;
    }
  }

  /** Runs the input that ended a thread once more, alone, and tells if it fails again. */
  async #isFailure(target: string, { input, reason }: Thread["end"]): Promise<boolean> {
    const outcome = await this.replay(target, input);
    if (outcome.verdict !== "failed") return false;
    const both = fail(outcome.signature, `${reason}; alone: ${outcome.problem}`);
    this.#options.onFailed?.(target, input, both);
    return true;
  }

  /** Keeps the counts of a thread that is gone. */
  #lose(target: string, unreported: EngineCounts): void {
    for (const [name, counts] of [...this.#counts, [target, unreported] as const]) {
      this.#lost.set(name, sum(this.#lost.get(name), counts));
    }
    this.#counts.clear();
  }

  /** Runs one input in a thread of its own. */
  async replay(target: string, input: Uint8Array): Promise<Outcome> {
    const inputMs = this.#options.inputMs * secondChance;
    const thread = new Thread({ ...this.#options, useCoverage: false, inputMs }, this.#folder);
    try {
      const ended = await thread.ask({ kind: "replay", target, input });
      return ended?.outcome ?? fail(thread.end.signature, thread.end.reason);
    } finally {
      await thread.close();
    }
  }

  async close(): Promise<void> {
    await this.#thread?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #running(): Thread {
    if (this.#thread !== null && !this.#thread.isOver) return this.#thread;
    if (this.#thread !== null) this.#restarts++;
    this.#thread = new Thread(this.#options, this.#folder, (told) => {
      if (told.kind === "failed") this.#options.onFailed?.(told.target, told.input, told.outcome);
      if (told.kind !== "kept") return;
      const kept = this.#kept.get(told.target) ?? [];
      this.#kept.set(told.target, [...kept, told.input]);
      this.#options.onKept?.(told.target, told.input);
    });
    return this.#thread;
  }
}

/** One worker thread. */
class Thread {
  /** Why it ended, and with which input, when it did. */
  end = { input: new Uint8Array(0), reason: "", signature: "" };
  isOver = false;
  readonly #worker: Worker;
  readonly #watched: Watched;
  readonly #inputMs: number;
  #settle: (ended: Ended | null) => void = () => {};
  #outcome: Outcome | null = null;

  constructor(options: ThreadOptions, folder: string, onTold: (told: Told) => void = () => {}) {
    const shared = new SharedArrayBuffer(watchedBytes);
    this.#watched = new Watched(shared);
    this.#inputMs = options.inputMs;
    const setup: WorkerSetup = { shared, targetsUrl: options.targetsUrl, useCoverage: options.useCoverage };
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), {
      workerData: setup,
      env: { ...process.env, TMPDIR: folder },
      resourceLimits: { maxOldGenerationSizeMb: options.heapMiB },
    });
    this.#worker.on("message", (told: Told) => {
      if (told.kind === "outcome") this.#outcome = told.outcome;
      else if (told.kind === "broken") this.#stop(harnessBroken, told.error);
      else if (told.kind === "done") this.#settle({ counts: told.counts, outcome: this.#outcome });
      else onTold(told);
    });
    this.#worker.on("error", (error) =>
      this.#stop((error as NodeJS.ErrnoException).code ?? "crash", String(error.stack)),
    );
    this.#worker.on("exit", (code) => this.#stop("exit", `the thread ended with ${code}`));
  }

  /** Inputs that the thread has begun. */
  get count(): number {
    return this.#watched.count;
  }

  /** Gives it a job. Null if the thread came to its end: see `end`. */
  async ask(job: Job): Promise<Ended | null> {
    if (this.isOver) return null;
    const stop = new AbortController();
    const ended = new Promise<Ended | null>((resolve) => {
      this.#settle = resolve;
    });
    this.#worker.postMessage(job);
    const watch = this.#watch(stop.signal).catch(() => {});
    const result = await ended;
    stop.abort();
    await watch;
    return result;
  }

  async close(): Promise<void> {
    this.isOver = true;
    await this.#worker.terminate();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    let [count, since] = [-1, performance.now()];
    while (!this.isOver) {
      await pause(watchIntervalMs, undefined, { signal });
      if (!this.#watched.isBusy || this.#watched.count !== count) {
        [count, since] = [this.#watched.count, performance.now()];
      } else if (performance.now() - since > this.#inputMs) {
        this.#stop("hang", `it did not end within ${this.#inputMs} ms`);
      }
    }
  }

  #stop(signature: string, reason: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.end = { input: this.#watched.input as Uint8Array<ArrayBuffer>, reason, signature };
    this.#settle(null);
    // Whatever the reason: a thread that is left alive keeps the process alive.
    void this.#worker.terminate();
  }
}

function noCounts(): EngineCounts {
  return { inputs: 0, accepted: 0, refused: 0, corpus: 0, behaviours: 0, failures: 0 };
}

/** Counts of a thread on top of those of threads that are gone; what is there at a time is not added up. */
function sum(before: EngineCounts | undefined, now: EngineCounts): EngineCounts {
  if (before === undefined) return now;
  return {
    inputs: before.inputs + now.inputs,
    accepted: before.accepted + now.accepted,
    refused: before.refused + now.refused,
    corpus: now.corpus,
    behaviours: before.behaviours + now.behaviours,
    failures: before.failures + now.failures,
  };
}
