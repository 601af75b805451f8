/** How long something that is under way will still take, from how far it came. */

/** Before this nothing is foretold. */
const leastMs = 1000;

/** Milliseconds that are left at the speed so far; null while nothing can be said. */
export function timeLeftMs(elapsedMs: number, done: number, total: number): number | null {
  if (elapsedMs < leastMs || done <= 0 || total <= 0) return null;
  return done >= total ? 0 : (elapsedMs * (total - done)) / done;
}

/** A time for people, rounded up: `3 min 20 s`. */
export function describeTime(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** A number of bytes for people: `12.3 MiB`. */
export function describeBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
