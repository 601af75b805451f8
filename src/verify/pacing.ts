/** Lets other work of the same thread have its turn during a long verification, and ends one that is not wanted any more. */

/** A page in a browser is drawn every 16 ms; a timer costs a few. */
const turnEveryMs = 30;

export class Pacing {
  private readonly signal: AbortSignal | undefined;
  private readonly rest: () => Promise<void>;
  private lastTurnAt = performance.now();

  /** `rest` resolves when others had their turn; a timer does that everywhere, but takes a millisecond. */
  constructor(signal?: AbortSignal, rest: () => Promise<void> = timer) {
    this.signal = signal;
    this.rest = rest;
  }

  /** To be called every few milliseconds of work. Throws the signal's reason if it was aborted. */
  async turn(): Promise<void> {
    if (performance.now() - this.lastTurnAt >= turnEveryMs) {
      await this.rest();
      this.lastTurnAt = performance.now();
    }
    this.signal?.throwIfAborted();
  }
}

function timer(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
