/**
 * Memory shared between the thread that fuzzes and the one that watches it.
 *
 *     0        4          8       12
 *     +--------+----------+-------+----------------+
 *     | inputs | is busy  | length| the input      |
 *     +--------+----------+-------+----------------+
 */

import { maxInputBytes } from "./target.ts";

const headBytes = 12;
const [countAt, busyAt, lengthAt] = [0, 1, 2];

/** Bytes to share. Inputs that come from outside of a run may be longer than mutants. */
export const watchedBytes = headBytes + 8 * maxInputBytes;

/** A view of the shared memory, from either side. */
export class Watched {
  readonly #head: Int32Array;
  readonly #input: Uint8Array;

  constructor(shared: SharedArrayBuffer) {
    this.#head = new Int32Array(shared, 0, headBytes / 4);
    this.#input = new Uint8Array(shared, headBytes);
  }

  /** An input is about to be run. */
  begin(input: Uint8Array): void {
    const part = input.subarray(0, this.#input.length);
    this.#input.set(part);
    Atomics.store(this.#head, lengthAt, part.length);
    Atomics.store(this.#head, busyAt, 1);
    Atomics.add(this.#head, countAt, 1);
  }

  /** No input is being run. */
  idle(): void {
    Atomics.store(this.#head, busyAt, 0);
  }

  get isBusy(): boolean {
    return Atomics.load(this.#head, busyAt) === 1;
  }

  /** Inputs begun so far. */
  get count(): number {
    return Atomics.load(this.#head, countAt);
  }

  /** A copy of the input that was begun last. */
  get input(): Uint8Array {
    return this.#input.slice(0, Atomics.load(this.#head, lengthAt));
  }
}
