/** What the guest's memory must hold, computed again here from the commands that it was given. */

import { Buffer } from "node:buffer";
import {
  counterAddress,
  dirtiedAddress,
  dirtiedWordOffsets,
  fillPage,
  firstFilledPage,
  incrementedWordOffset,
} from "../../cli/demo/guest.ts";

const PAGE = 4096;
const tickFactor = 0x9e3779b1;

/** The parameters that the guest was made with. */
export interface GuestShape {
  readonly fillPages: number;
  readonly workingPages: number;
  readonly dirtyPagesPerTick: number;
}

interface Expected {
  /** Seed of the fill; null: zeros. */
  readonly seed: number | null;
  readonly increments: number;
}

/** Expected content of the filled area. Pages are numbered from its beginning. */
export class GuestModel {
  private readonly shape: GuestShape;
  private readonly changed = new Map<number, Expected>();

  constructor(shape: GuestShape) {
    this.shape = shape;
  }

  /** The same expectations, which then stay as they are. */
  copy(): GuestModel {
    const copy = new GuestModel(this.shape);
    for (const [index, expected] of this.changed) copy.changed.set(index, expected);
    return copy;
  }

  zero(first: number, count: number): void {
    this.set(first, count, () => ({ seed: null, increments: 0 }));
  }

  refill(first: number, count: number): void {
    this.set(first, count, () => ({ seed: 0, increments: 0 }));
  }

  rewrite(first: number, count: number, seed: number): void {
    this.set(first, count, () => ({ seed, increments: 0 }));
  }

  increment(first: number, count: number): void {
    this.set(first, count, (before) => ({ ...before, increments: before.increments + 1 }));
  }

  /**
   * Compares a dump of the memory with what must be there: each page of the filled area, and for each page of the
   * working set that it shows its last visit and no older one. The guest must never have been paused.
   * Returns what is wrong.
   */
  check(memory: Buffer): string[] {
    const { fillPages, workingPages, dirtyPagesPerTick } = this.shape;
    const counter = memory.readUInt32LE(counterAddress);
    const ticks = dirtyPagesPerTick === 0 ? 0 : memory.readUInt32LE(dirtiedAddress) / dirtyPagesPerTick;
    const wrong: string[] = [];
    // The counter is incremented an instruction or two before the pages are counted.
    if (dirtyPagesPerTick > 0 && ticks !== counter && ticks !== counter - 1) {
      wrong.push(`the counter says ${counter} ticks, the pages dirtied say ${ticks}`);
    }
    for (let index = 0; index < fillPages; index++) {
      const start = (firstFilledPage + index) * PAGE;
      const actual = memory.subarray(start, start + PAGE);
      const candidates = index < workingPages ? this.lastVisits(index, ticks) : [0];
      if (!candidates.some((tick) => actual.equals(this.page(index, tick)))) {
        wrong.push(`page ${firstFilledPage + index} is not as of tick ${candidates.join(" or ")}`);
      }
    }
    return wrong;
  }

  /** Ticks that may have dirtied a page last; 0: none did. A tick may be half done when the VM stops. */
  private lastVisits(index: number, ticks: number): number[] {
    const { workingPages, dirtyPagesPerTick } = this.shape;
    const lastBefore = (visits: number) => {
      const visit = visits - 1 - ((((visits - 1 - index) % workingPages) + workingPages) % workingPages);
      return visit < 0 ? 0 : Math.floor(visit / dirtyPagesPerTick) + 1;
    };
    const last = lastBefore(ticks * dirtyPagesPerTick);
    return last === ticks && ticks > 0 ? [last, lastBefore((ticks - 1) * dirtyPagesPerTick)] : [last];
  }

  private page(index: number, tick: number): Buffer {
    const { seed, increments } = this.changed.get(index) ?? { seed: 0, increments: 0 };
    const bytes = Buffer.from(seed === null ? new Uint8Array(PAGE) : fillPage(firstFilledPage + index, seed));
    if (increments > 0) {
      const word = bytes.readUInt32LE(incrementedWordOffset);
      bytes.writeUInt32LE((word + increments) >>> 0, incrementedWordOffset);
    }
    if (tick > 0) {
      const value = (Math.imul(tick, tickFactor) + index) >>> 0;
      for (const offset of dirtiedWordOffsets) bytes.writeUInt32LE(value, offset);
    }
    return bytes;
  }

  private set(first: number, count: number, next: (before: Expected) => Expected): void {
    for (let index = first; index < first + count; index++) {
      this.changed.set(index, next(this.changed.get(index) ?? { seed: 0, increments: 0 }));
    }
  }
}
