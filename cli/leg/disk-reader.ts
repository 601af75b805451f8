/** Reads runs of a disk over NBD into the core's memory, several requests ahead, and hands them on in order. */

import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { NbdClient } from "../nbd/client.ts";

const slotBytes = 1 << 20;
const slots = 4;

/** What becomes of blocks that were read. `contents` points to the core's memory. */
export interface BlockConsumer {
  blocks(block: number, count: number, contents: number): void;
  zeroBlocks(block: number, count: number): void;
}

interface Pending {
  readonly slot: number;
  readonly block: number;
  readonly count: number;
  readonly consumer: BlockConsumer;
  /** True when the server said that all of it is a hole. */
  readonly reading: Promise<boolean>;
}

/** A few megabytes of blocks under way. */
export class DiskReader {
  private readonly core: Core;
  private readonly memory: number;
  private readonly free: number[] = [];
  private readonly pending: Pending[] = [];
  /** Resolves when more may be sent. */
  private readonly room: () => Promise<void>;

  constructor(core: Core, room: () => Promise<void>) {
    this.core = core;
    this.room = room;
    this.memory = core.allocate(slots * slotBytes);
    for (let i = 0; i < slots; i++) this.free.push(this.memory + i * slotBytes);
  }

  /** Reads a range of bytes, widened to whole blocks. Throws what the server says. */
  async read(client: NbdClient, consumer: BlockConsumer, offset: number, lengthBytes: number): Promise<void> {
    const end = Math.ceil((offset + lengthBytes) / pageBytes);
    for (let block = Math.floor(offset / pageBytes); block < end; ) {
      const count = Math.min(slotBytes / pageBytes, end - block);
      await this.room();
      const slot = await this.takeSlot();
      const reading = this.fill(client, slot, block, count);
      // It is awaited in its turn; until then its failure must not count as unhandled.
      reading.catch(() => {});
      this.pending.push({ slot, block, count, consumer, reading });
      block += count;
    }
  }

  /** Hands on everything that is under way. */
  async drain(): Promise<void> {
    while (this.pending.length > 0) await this.handOn();
  }

  /** Gives its memory back to the core, after everything under way has come or failed. */
  async release(): Promise<void> {
    await Promise.allSettled(this.pending.map(({ reading }) => reading));
    this.core.release(this.memory);
  }

  private async takeSlot(): Promise<number> {
    if (this.free.length === 0) await this.handOn();
    return this.free.pop() as number;
  }

  private async handOn(): Promise<void> {
    const { slot, block, count, consumer, reading } = this.pending[0];
    const isHole = await reading;
    this.pending.shift();
    if (isHole) consumer.zeroBlocks(block, count);
    else consumer.blocks(block, count, slot);
    this.free.push(slot);
  }

  /** Returns true if there is nothing but a hole. The end of a disk that fills no whole block reads as zero. */
  private async fill(client: NbdClient, slot: number, block: number, count: number): Promise<boolean> {
    const start = block * pageBytes;
    const length = Math.min(count * pageBytes, client.sizeBytes - start);
    let isHole = true;
    await client.read(start, length, {
      data: (at, bytes) => {
        isHole = false;
        this.core.bytes().set(bytes, slot + at);
      },
      hole: (at, bytes) => {
        this.core.bytes().fill(0, slot + at, slot + at + bytes);
      },
    });
    this.core.bytes().fill(0, slot + length, slot + count * pageBytes);
    return isHole;
  }
}
