/** Keeps the undecoded end of one chunk in front of the next, for callers without a window of their own. */

import { MAX_ITEM_BYTES } from "./vocabulary.ts";

/** Decodes whole items of the first `length` bytes and returns how many bytes they were. */
type Consume = (bytes: Uint8Array, length: number) => number;

export class PushWindow {
  /**
   * The beginning of one item. An item that is not whole is shorter than `MAX_ITEM_BYTES`, so filling this
   * up completes it.
   */
  readonly #carried = new Uint8Array(MAX_ITEM_BYTES);
  #length = 0;

  /** Copies at most `MAX_ITEM_BYTES` at each end of the chunk; decodes the rest in place. */
  push(chunk: Uint8Array, consume: Consume): void {
    let rest = chunk;
    while (this.#length > 0 && rest.length > 0) {
      const kept = this.#length;
      const added = Math.min(rest.length, MAX_ITEM_BYTES - kept);
      this.#carried.set(rest.subarray(0, added), kept);
      const consumed = consume(this.#carried, kept + added);
      if (consumed === 0) {
        this.#length = kept + added;
        rest = rest.subarray(added);
      } else {
        // The item began in the carried bytes and was not whole there, so it ends in the chunk.
        this.#length = 0;
        rest = rest.subarray(consumed - kept);
      }
    }
    if (rest.length === 0) return;
    const consumed = consume(rest, rest.length);
    this.#length = rest.length - consumed;
    this.#carried.set(rest.subarray(consumed), 0);
  }
}
