/** Fuzzes one target: mutates what was kept, runs it, and keeps what behaves in a new way. */

import type { CoverageMap } from "./coverage.ts";
import { judge, type Outcome } from "./oracle.ts";
import type { Random } from "./random.ts";
import { maxInputBytes, type Target } from "./target.ts";

/** Inputs between two looks at the coverage. */
const batchInputs = 64;

/** Different failures of one target after which it is left alone. */
const failuresMax = 20;

/** What is told while a target is fuzzed. */
export interface EngineEvents {
  /** Before an input is run. */
  begin(input: Uint8Array): void;
  /** An input behaved in a new way. */
  kept(input: Uint8Array): void;
  /** An input failed in a way that was not seen before. */
  failed(input: Uint8Array, outcome: Outcome): void;
}

/** Counts of one target. */
export interface EngineCounts {
  inputs: number;
  accepted: number;
  refused: number;
  /** Inputs that are mutated. */
  corpus: number;
  /** Inputs beyond seeds and saved corpus that were kept. */
  behaviours: number;
  failures: number;
}

/** One target with its corpus. Everything that is random comes from `random`, nothing from the time. */
export class Engine {
  readonly counts: EngineCounts = {
    inputs: 0,
    accepted: 0,
    refused: 0,
    corpus: 0,
    behaviours: 0,
    failures: 0,
  };
  readonly #target: Target;
  readonly #random: Random;
  readonly #coverage: CoverageMap | null;
  readonly #events: EngineEvents;
  readonly #corpus: Uint8Array[] = [];
  /** Those that were accepted. */
  readonly #valid: Uint8Array[] = [];
  readonly #signatures = new Set<string>();

  constructor(target: Target, random: Random, coverage: CoverageMap | null, events: EngineEvents) {
    this.#target = target;
    this.#random = random;
    this.#coverage = coverage;
    this.#events = events;
  }

  /** True if there is nothing more to try: too much failed, or every seed did. */
  get isGivenUp(): boolean {
    return this.counts.failures >= failuresMax || this.#corpus.length === 0;
  }

  /** Runs and keeps seeds, and inputs of the saved corpus. */
  async prime(saved: readonly Uint8Array[]): Promise<void> {
    this.#coverage?.discard();
    for (const given of [...this.#target.seeds, ...saved]) {
      // A copy of one's own: what a Buffer calls a slice would share its bytes with every mutant.
      const input = new Uint8Array(given);
      const { verdict, signature } = await this.#run(input);
      if (verdict === "failed") continue;
      const isNew = !this.#signatures.has(signature);
      this.#signatures.add(signature);
      const isDeeper = this.#coverage?.take() ?? false;
      this.#coverage?.commit();
      this.#corpus.push(input);
      if (verdict === "accepted") this.#valid.push(input);
      if (isNew || isDeeper) this.#events.kept(input);
    }
    this.counts.corpus = this.#corpus.length;
  }

  /** Runs `count` mutants, or fewer if too many failed. */
  async fuzz(count: number): Promise<void> {
    for (let left = count; left > 0 && !this.isGivenUp; left -= batchInputs) {
      await this.#batch(Math.min(left, batchInputs));
    }
  }

  async #batch(count: number): Promise<void> {
    const plain: Uint8Array[] = [];
    this.#coverage?.discard();
    for (let i = 0; i < count; i++) {
      const input = this.#mutant();
      const { verdict, signature } = await this.#run(input);
      if (verdict === "failed") continue;
      if (this.#signatures.has(signature)) {
        plain.push(input);
        continue;
      }
      this.#signatures.add(signature);
      this.#keep(input, verdict === "accepted");
    }
    if (this.#coverage === null || !this.#coverage.take()) return;
    const before = this.counts.behaviours;
    await this.#findDeeper(plain);
    // What only happens once, such as filling a cache, or what was kept for its signature, is found in no half.
    if (this.counts.behaviours === before) this.#coverage.take();
    for (const input of this.#corpus.slice(-8)) await this.#run(input);
    this.#coverage.take();
    this.#coverage.commit();
  }

  /** Keeps those of the inputs that reach code that no input reached before. */
  async #findDeeper(inputs: readonly Uint8Array[]): Promise<void> {
    const coverage = this.#coverage as CoverageMap;
    coverage.discard();
    for (const input of inputs) await this.#run(input);
    if (!coverage.take()) return;
    if (inputs.length === 1) {
      coverage.commit();
      this.#keep(inputs[0], false);
      return;
    }
    const middle = inputs.length >> 1;
    await this.#findDeeper(inputs.slice(0, middle));
    await this.#findDeeper(inputs.slice(middle));
  }

  #mutant(): Uint8Array {
    // A mutant of a refused input is refused at the same place mostly, so valid ones come first; new ones too.
    const from = this.#valid.length > 0 && !this.#random.oneIn(4) ? this.#valid : this.#corpus;
    const first = this.#random.oneIn(2) ? 0 : Math.floor((from.length * 3) / 4);
    const input = from[first + this.#random.below(from.length - first)];
    const mutant = this.#target.mutate(input, this.#random.pick(this.#corpus), this.#random);
    return mutant.length > maxInputBytes ? mutant.slice(0, maxInputBytes) : mutant;
  }

  #keep(input: Uint8Array, isValid: boolean): void {
    this.#corpus.push(input);
    if (isValid) this.#valid.push(input);
    this.counts.corpus = this.#corpus.length;
    this.counts.behaviours++;
    this.#events.kept(input);
  }

  async #run(input: Uint8Array): Promise<Outcome> {
    this.#events.begin(input);
    const outcome = await judge(this.#target, input);
    this.counts.inputs++;
    if (outcome.verdict === "accepted") this.counts.accepted++;
    if (outcome.verdict === "refused") this.counts.refused++;
    if (outcome.verdict === "failed" && !this.#signatures.has(outcome.signature)) {
      this.#signatures.add(outcome.signature);
      this.counts.failures++;
      this.#events.failed(input, outcome);
    }
    return outcome;
  }
}
