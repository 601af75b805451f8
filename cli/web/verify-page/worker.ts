/** The worker of the page: verifies what it is given, so that the page stays responsive. Files are read in slices. */

import { type Core, compileCore, loadCore } from "../../../src/core.ts";
import { isDamage, orFinding } from "../../../src/verify/damage.ts";
import { filesOfInput, type GenerationInput, readManifestOf } from "../../../src/verify/generation-files.ts";
import { checkLoose, looseKindOf } from "../../../src/verify/loose-check.ts";
import type { RandomAccess } from "../../../src/verify/random-access.ts";
import {
  FindingLog,
  type VerifyFinding,
  type VerifyNote,
  type VerifyProgress,
} from "../../../src/verify/report.ts";
import { type GenerationVerdict, verifyGenerations } from "../../../src/verify/verify-generations.ts";
import type { Chain, GenerationFolder } from "./group-files.ts";
import { HashPool, workersFor } from "./hash-pool.ts";
import { heatCells } from "./heat-cells.ts";
import { fittingKey } from "./key-check.ts";
import type {
  Assignment,
  ChainOutcome,
  GenerationOutcome,
  LooseOutcome,
  Outcome,
  PageMessage,
  WorkerMessage,
} from "./messages.ts";
import { ReadAhead } from "./read-ahead.ts";

/** How often the page hears of progress and findings. */
const tellEveryMs = 100;

/** Made at once, like this worker: after it was loaded the page asks its server for nothing more. */
const pool = startPool();
// Whoever verifies is told.
pool.catch(() => {});

let underWay: AbortController | null = null;

self.addEventListener("message", ({ data }: MessageEvent<PageMessage>) => {
  if (data.type === "cancel") underWay?.abort();
  else void run(data.assignment);
});

async function run(assignment: Assignment): Promise<void> {
  const controller = new AbortController();
  const { signal } = controller;
  underWay = controller;
  const news = new News(assignment);
  const end = await verify(assignment, news, signal).then(
    (outcome): WorkerMessage => ({ type: "done", outcome }),
    (error): WorkerMessage => {
      if (signal.aborted) return { type: "cancelled" };
      return { type: "failed", message: describeFailure(error) };
    },
  );
  underWay = null;
  (await pool.catch(() => null))?.rest();
  news.flush();
  tell(end);
}

function describeFailure(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  // Browsers advise more than is needed.
  if (error instanceof WebAssembly.CompileError) {
    return `Serve the page with 'wasm-unsafe-eval' in its policy's script-src: ${message}`;
  }
  return message;
}

async function startPool(): Promise<HashPool> {
  const module = await compileCore();
  const url = new URL("./hash-worker.js", import.meta.url);
  const start = () => new Worker(url, { type: "module" });
  return new HashPool(Array.from({ length: workersFor(navigator.hardwareConcurrency) }, start), module);
}

async function verify(assignment: Assignment, news: News, signal: AbortSignal): Promise<Outcome> {
  const { keys, quick } = assignment;
  // A core for each verification: its memory goes back when it is over.
  const core = await loadCore();
  const hasher = await pool;
  const reader = new ReadAhead();
  const notes: VerifyNote[] = [];
  const looseFiles: LooseOutcome[] = [];
  for (const { path, file } of assignment.looseFiles) {
    signal.throwIfAborted();
    const log = new FindingLog((finding) => news.find(finding));
    await checkFile(core, log, path, reader.access(file), signal);
    looseFiles.push({ path, isWhole: log.findings.length === 0 });
    news.finish(file.size);
  }
  const chains: ChainOutcome[] = [];
  for (const chain of assignment.chains) {
    signal.throwIfAborted();
    const inputs = chain.generations.map((one) => inputOf(one, reader));
    const key = await fittingKey(core, inputs, keys);
    const disks = await disksOf(core, inputs);
    if (key === null) chains.push({ name: chain.name, keyFits: false, generations: [] });
    else {
      const found = await verifyGenerations(core, inputs, {
        key: key ?? keys[0],
        quick,
        hasher,
        signal,
        onFinding: (finding) => news.find(finding),
        onProgress: (progress) => news.progress(chain, progress),
      });
      const generations = found.generations.map((verdict, i) => outcomeOf(verdict, disks[i]));
      chains.push({ name: chain.name, keyFits: key === undefined ? null : true, generations });
      notes.push(...found.notes);
    }
    news.finish(sizeOf(chain));
  }
  return { chains, looseFiles, notes, quick };
}

/** Checks a file by itself; one that cannot be read, or is of no known kind, is a finding too. */
async function checkFile(
  core: Core,
  log: FindingLog,
  path: string,
  input: RandomAccess,
  signal: AbortSignal,
): Promise<void> {
  await orFinding(log, { path }, async () => {
    const kind = await looseKindOf(path.slice(path.lastIndexOf("/") + 1), input);
    if (kind !== null) await checkLoose(core, log, path, kind, input, () => signal.throwIfAborted());
    else log.add({ path, problem: "it is neither a manifest nor a delta nor a device file" });
  });
}

function inputOf({ name, files }: GenerationFolder<Blob>, reader: ReadAhead): GenerationInput {
  return { name, files: new Map([...files].map(([fileName, blob]) => [fileName, reader.access(blob)])) };
}

/** Names of the disks of each; none where the manifest cannot be read, which the verification finds too. */
async function disksOf(core: Core, inputs: readonly GenerationInput[]): Promise<string[][]> {
  const names = async (input: GenerationInput): Promise<string[]> => {
    try {
      return (await readManifestOf(core, filesOfInput(input))).disks.map(({ name }) => name);
    } catch (error) {
      if (isDamage(error)) return [];
      throw error;
    }
  };
  return await Promise.all(inputs.map(names));
}

/** What the page shows of a verdict: cells instead of bitmaps, which may be large. */
function outcomeOf(verdict: GenerationVerdict, disks: readonly string[]): GenerationOutcome {
  const { name, generation, root, intact, restorable, seed, regions, dirty, wrong } = verdict;
  const heat = regions.map((region) => heatCells(region, dirty, wrong));
  return { name, generation, root, intact, restorable, seed, disks, heat };
}

/** Tells the page what happens, not more often than it can show it. */
class News {
  private readonly totalBytes: number;
  private finishedBytes = 0;
  private findings: VerifyFinding[] = [];
  private last = 0;
  private latest: WorkerMessage | null = null;
  /** Tells what is there even if nothing follows it for long. */
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor({ chains, looseFiles }: Assignment) {
    const sizes = [...chains.map(sizeOf), ...looseFiles.map(({ file }) => file.size)];
    this.totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  }

  find(finding: VerifyFinding): void {
    this.findings.push(finding);
    this.tellInTime();
  }

  progress(chain: Chain<Blob>, { vm, generation, doneBytes, totalBytes }: VerifyProgress): void {
    // What the verifier counts and what the files have differ; the share is what counts.
    const share = totalBytes === 0 ? 0 : Math.min(doneBytes / totalBytes, 1);
    this.set(`${vm}, generation ${generation}`, this.finishedBytes + share * sizeOf(chain));
  }

  finish(bytes: number): void {
    this.finishedBytes += bytes;
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.latest !== null) tell(this.latest);
    if (this.findings.length > 0) tell({ type: "findings", findings: this.findings });
    this.findings = [];
    this.latest = null;
    this.last = performance.now();
  }

  private set(what: string, doneBytes: number): void {
    this.latest = { type: "progress", what, doneBytes, totalBytes: this.totalBytes };
    this.tellInTime();
  }

  private tellInTime(): void {
    const wait = this.last + tellEveryMs - performance.now();
    if (wait <= 0) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), wait);
  }
}

function sizeOf(chain: Chain<Blob>): number {
  const files = chain.generations.flatMap((generation) => [...generation.files.values()]);
  return files.reduce((sum, { size }) => sum + size, 0);
}

function tell(message: WorkerMessage): void {
  self.postMessage(message);
}
