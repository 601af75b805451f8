/** Waiting that a signal ends. */

/** What a promise resolves to, or the signal's reason if that comes first; what the promise does then is nobody's. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {});
  signal.throwIfAborted();
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** A signal that is raised with `signal`, or after so many seconds. Call `end` when it is not needed any more. */
export function limited(
  signal: AbortSignal,
  seconds: number,
): { readonly signal: AbortSignal; readonly end: () => void } {
  const late = new AbortController();
  const reason = new Error(`Cannot wait any longer: it takes more than ${Math.round(seconds)} s`);
  const timer = setTimeout(() => late.abort(reason), seconds * 1000);
  return { signal: AbortSignal.any([signal, late.signal]), end: () => clearTimeout(timer) };
}
