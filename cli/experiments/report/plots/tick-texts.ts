/** Short words for ticks, one unit each: `200 ms`, `50 s`, `10 MB`. */

/** A time in milliseconds. */
export function timeTick(ms: number): string {
  return ms < 999 ? `${short(ms)} ms` : `${short(ms / 1000)} s`;
}

/** Bytes in decimal units. */
export function wireTick(bytes: number): string {
  for (const [unit, factor] of [
    ["TB", 1e12],
    ["GB", 1e9],
    ["MB", 1e6],
    ["kB", 1e3],
  ] as const) {
    if (bytes >= 0.999 * factor) return `${short(bytes / factor)} ${unit}`;
  }
  return `${short(bytes)} B`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(2)));
}
