/**
 * How much memory a guest makes dirty in a time, learned from QEMU's passes.
 *
 * QEMU reads its dirty bitmap when a pass begins. Pages that were found then had been written in the time of the pass
 * before, however often: what is found in a time grows ever more slowly, and not beyond the guest's working set.
 *
 *     found │        ┌─── a pass of this length found so much: a shorter time dirties no more,
 *           │     ·──●    and a time n times as long at most n times as much
 *           │   ·
 *           └────────┴── time
 */

/** QEMU's figures at one moment. */
export interface DirtyFigures {
  /** Passes that have begun. */
  readonly pass: number;
  readonly remainingBytes: number;
  /** Pages sent since the migration began, in bytes of guest memory. */
  readonly sentBytes: number;
}

/** What a pass found when it began. */
export interface DirtyPass {
  readonly foundBytes: number;
  /** The time in which these pages were written. */
  readonly elapsedMs: number;
}

/** A guest's habits change: so many passes speak for it. */
const rememberedPasses = 4;

/** Learns from each look at QEMU. Times are milliseconds of one monotonic clock. */
export class DirtyCurve {
  /** The newest passes, oldest first. */
  readonly passes: DirtyPass[] = [];
  private last: (DirtyFigures & { readonly at: number }) | null = null;
  private passAt = 0;
  /** The bitmap was read after this moment. */
  private readAfter = 0;

  /** Takes QEMU's figures. True if a pass has begun since the last time. */
  observe(figures: DirtyFigures, now: number): boolean {
    const { last } = this;
    this.last = { ...figures, at: now };
    if (last === null || figures.pass < last.pass) {
      this.passes.length = 0;
      this.passAt = now;
      this.readAfter = now;
      return false;
    }
    const begun = figures.pass - last.pass;
    if (begun === 0) return false;
    // Nothing is lost between two looks: what was found was sent since, or remains.
    const found = figures.sentBytes - last.sentBytes + figures.remainingBytes - last.remainingBytes;
    // Before the first pass has begun nothing was found: all memory is dirty then.
    if (last.pass > 0) {
      const elapsedMs = Math.max(1, (now - this.passAt) / begun);
      this.passes.push({ foundBytes: Math.max(0, found) / begun, elapsedMs });
      if (this.passes.length > rememberedPasses) this.passes.shift();
    }
    this.passAt = now;
    this.readAfter = last.at;
    return last.pass > 0;
  }

  /** What was learned while the link was lost would mislead. */
  forget(now: number): void {
    this.passes.length = 0;
    this.passAt = now;
  }

  /** Bytes that the guest makes dirty in so many milliseconds, counted once; Infinity while no pass has ended. */
  dirtied(ms: number): number {
    const newest = this.passes.at(-1);
    if (newest === undefined) return Number.POSITIVE_INFINITY;
    let most = Number.POSITIVE_INFINITY;
    for (const { foundBytes, elapsedMs } of this.passes) {
      most = Math.min(most, foundBytes * Math.max(1, ms / elapsedMs));
    }
    return Math.max(most, newest.foundBytes * Math.min(1, ms / newest.elapsedMs));
  }

  /** Bytes of memory that QEMU would send after a stop in `ms`, if it sends nothing until then. */
  unsent(now: number, ms: number): number {
    const newest = this.passes.at(-1);
    if (this.last === null || newest === undefined) return Number.POSITIVE_INFINITY;
    const { remainingBytes } = this.last;
    const sinceRead = now - this.readAfter + ms;
    // What remains was written in the time before: together they are no more than both times dirty.
    const together = this.dirtied(newest.elapsedMs + sinceRead);
    return Math.max(remainingBytes, Math.min(remainingBytes + this.dirtied(sinceRead), together));
  }
}
