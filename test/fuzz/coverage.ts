/**
 * Coverage as feedback: V8's precise block coverage of the product's code, through the inspector. Taking it costs
 * some milliseconds, so it is taken once for a batch of inputs; when a batch reached code that none reached before,
 * the inputs that did are found by halves. Code that was compiled before the session began has no block counters:
 * start this before the targets are imported. V8 does not count within WASM: there the outcomes' signatures are the
 * only feedback.
 */

import { type Profiler, Session } from "node:inspector";

/** The coverage session of this thread. */
export class CoverageSession {
  readonly #session = new Session();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** What was executed since the last call. The inspector answers within the call. */
  take(): Profiler.ScriptCoverage[] {
    let taken: Profiler.ScriptCoverage[] = [];
    this.#session.post("Profiler.takePreciseCoverage", (error, { result }) => {
      if (error !== null) throw error;
      taken = result.filter(({ url }) => /\/dist\/(src|cli)\//.test(url));
    });
    return taken;
  }
}

/** What one target has executed so far: a flag for each character of each script. */
export class CoverageMap {
  readonly #session: CoverageSession;
  readonly #seen = new Map<string, Uint8Array>();
  #painted = new Map<string, Uint8Array>();

  constructor(session: CoverageSession) {
    this.#session = session;
  }

  /** Forgets what was executed since the last call. */
  discard(): void {
    this.#session.take();
  }

  /** True if something was executed since the last call that was not executed before the last `commit`. */
  take(): boolean {
    this.#painted = new Map();
    let isNew = false;
    for (const { url, functions } of this.#session.take()) {
      // Ranges come outermost first, so inner ones paint over what contains them.
      const length = functions.reduce((end, { ranges }) => Math.max(end, ranges[0]?.endOffset ?? 0), 0);
      const paint = new Uint8Array(length);
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges)
          paint.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      }
      const seen = this.#seen.get(url);
      if (!isBeyond(paint, seen)) continue;
      isNew = true;
      this.#painted.set(url, paint);
    }
    return isNew;
  }

  /** Counts what the last `take` found as seen. */
  commit(): void {
    for (const [url, paint] of this.#painted) {
      const before = this.#seen.get(url) ?? new Uint8Array(0);
      const seen = new Uint8Array(Math.max(before.length, paint.length));
      seen.set(before);
      for (let i = 0; i < paint.length; i++) if (paint[i] === 1) seen[i] = 1;
      this.#seen.set(url, seen);
    }
  }

  /** Characters of code that were executed. */
  get size(): number {
    let size = 0;
    for (const seen of this.#seen.values()) for (const flag of seen) size += flag;
    return size;
  }
}

/** True if a flag is set that is not set in `seen`. */
function isBeyond(paint: Uint8Array, seen: Uint8Array | undefined): boolean {
  for (let i = 0; i < paint.length; i++) if (paint[i] === 1 && seen?.[i] !== 1) return true;
  return false;
}
