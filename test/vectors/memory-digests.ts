/** A digest file in memory, of fixed length. */

import type { DigestStorage } from "../../src/generation/block-digest-layout.ts";

export class MemoryDigests implements DigestStorage {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array = new Uint8Array(16 * 4096)) {
    this.bytes = bytes.slice();
  }

  read(target: Uint8Array, at: number): void {
    target.fill(0);
    target.set(this.bytes.subarray(at, at + target.length));
  }

  write(bytes: Uint8Array, at: number): void {
    this.bytes.set(bytes, at);
  }
}
