/** When the next of many copies is due, and whether the link's share suffices for them. */

/** What one copy took, and how often one is wanted. */
export interface SyncCost {
  readonly everyMs: number;
  /** The budget; null: the whole link. */
  readonly bitsPerSecond: number | null;
  readonly tookMs: number;
  readonly wireBytes: number;
}

/** The first multiple of the interval after `lastMs` that is not past; one that was missed is not made up for. */
export function nextStart(lastMs: number, everyMs: number, nowMs: number): number {
  const passed = Math.max(1, Math.ceil((nowMs - lastMs) / everyMs));
  return lastMs + passed * everyMs;
}

/** Null if copies keep their interval; else the rate that would have sufficed for this one, if the budget was in the way. */
export function budgetShortfall(cost: SyncCost): { readonly neededBitsPerSecond: number | null } | null {
  const { everyMs, bitsPerSecond, tookMs, wireBytes } = cost;
  if (tookMs <= everyMs) return null;
  const needed = (wireBytes * 8 * 1000) / everyMs;
  return {
    neededBitsPerSecond: bitsPerSecond !== null && needed > bitsPerSecond ? Math.round(needed) : null,
  };
}
