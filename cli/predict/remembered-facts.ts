/** What a guest's memory is taken for where it cannot be looked at: as its last leg found it, or a guess. */

import type { LegRecord } from "../store/leg-history.ts";
import type { MemoryFacts } from "./memory-facts.ts";

/** Facts that nobody has measured now. */
export interface RememberedFacts {
  readonly facts: MemoryFacts;
  readonly from: "history" | "guess";
  /** How far they may be off, as a spread of the logarithm. */
  readonly spread: number;
  readonly note: string;
}

const nothingWritten = { bytesPerSecond: 0, setBytes: 0 };

/** From the legs of the VM, oldest first. */
export function rememberedFacts(
  legs: readonly LegRecord[],
  kind: "first" | "return",
  memoryBytes: number,
): RememberedFacts {
  const last = legs.filter((leg) => leg.kind === kind && leg.changedBytes > 0).at(-1);
  const rest = { changedDeviation: 0, writing: nothingWritten, encodeBytesPerSecond: null, sampledPages: 0 };
  if (last) {
    const pageCost = Math.min(2, last.pageWireBytes / last.changedBytes);
    const filledBytes = Math.min(memoryBytes, last.filledBytes ?? memoryBytes);
    const changedBytes = Math.min(memoryBytes, last.changedBytes);
    return {
      facts: { ...rest, filledBytes, changedBytes, pageCost, dirtyPageCost: pageCost },
      from: "history",
      spread: 0.5,
      note: "The guest's memory cannot be looked at here: its last leg of that kind is taken instead",
    };
  }
  const changedBytes = kind === "first" ? memoryBytes : memoryBytes / 10;
  return {
    facts: { ...rest, filledBytes: memoryBytes, changedBytes, pageCost: 0.5, dirtyPageCost: 0.5 },
    from: "guess",
    spread: 1.5,
    note: "The guest's memory cannot be looked at here, and there is no history: its figures are a guess",
  };
}
