/** Images in memory for tests; they count what is read of them. */

import type { ByteSource } from "../../src/disk/byte-source.ts";

/** A source over bytes. */
export class MemorySource implements ByteSource {
  readonly sizeBytes: number;
  reads = 0;
  bytesRead = 0;
  isOpen = true;
  private readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.sizeBytes = bytes.length;
  }

  read(memory: Uint8Array, target: number, length: number, at: number): number {
    const part = this.bytes.subarray(at, at + length);
    memory.set(part, target);
    this.reads++;
    this.bytesRead += part.length;
    return part.length;
  }

  close(): void {
    this.isOpen = false;
  }
}

/** A source that counts what is read of another one. */
export function countedSource(source: ByteSource): ByteSource & { reads: number; bytesRead: number } {
  const counted = {
    sizeBytes: source.sizeBytes,
    reads: 0,
    bytesRead: 0,
    read(memory: Uint8Array, target: number, length: number, at: number): number {
      const got = source.read(memory, target, length, at);
      counted.reads++;
      counted.bytesRead += got;
      return got;
    },
    close: () => source.close(),
  };
  return counted;
}
