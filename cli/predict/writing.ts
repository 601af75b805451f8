/**
 * How a guest writes to its memory, from how much of it was written in windows of different length: D bytes a second into
 * a set of W bytes, of which a window of t seconds finds x distinct ones,
 *
 *     x = W · (1 − e^(−D · t / W))
 */

/** How a guest writes. */
export interface Writing {
  /** D. */
  readonly bytesPerSecond: number;
  /** W. */
  readonly setBytes: number;
}

/** Distinct bytes that were found to be written in a time. */
export interface WrittenIn {
  readonly seconds: number;
  readonly bytes: number;
}

const halvings = 60;

/**
 * Fits a short window, which tells what the guest does now, and a long one before it, which tells how far that goes: how much
 * was written in it in all may have been another work's. Without it all memory may be W. `leastBytes`: what the short window
 * can see at all.
 */
export function fitWriting(
  short: WrittenIn,
  long: WrittenIn | null,
  { memoryBytes, leastBytes }: { readonly memoryBytes: number; readonly leastBytes: number },
): Writing {
  if (long === null || long.seconds <= short.seconds) return rateFor(short, memoryBytes);
  if (short.bytes === 0) {
    const bytesPerSecond = Math.min(long.bytes / long.seconds, leastBytes / short.seconds);
    return { bytesPerSecond, setBytes: Math.min(memoryBytes, long.bytes) };
  }
  // In proportion to time, or more: W is too large to be seen.
  if (long.bytes / long.seconds >= short.bytes / short.seconds) return rateFor(short, memoryBytes);
  // No more in a longer time: the short window has seen all of it.
  if (long.bytes <= short.bytes) return rateFor(short, short.bytes);
  // The smaller W, the sooner it fills: sought so that both windows agree on D.
  let low = Math.min(memoryBytes, long.bytes);
  let high = memoryBytes;
  for (let i = 0; i < halvings; i++) {
    const middle = (low + high) / 2;
    if (rateFor(short, middle).bytesPerSecond > rateFor(long, middle).bytesPerSecond) high = middle;
    else low = middle;
  }
  return rateFor(short, (low + high) / 2);
}

function rateFor({ seconds, bytes }: WrittenIn, setBytes: number): Writing {
  const set = Math.max(setBytes, bytes);
  if (set === 0) return { bytesPerSecond: 0, setBytes: 0 };
  const share = Math.min(0.999, bytes / set);
  return { bytesPerSecond: (-set * Math.log1p(-share)) / seconds, setBytes: set };
}
