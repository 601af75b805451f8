/** A mean of what was carried in the last busy time of a link: idle time in between does not count. */

/** Busy time that the mean covers, in milliseconds. */
const coveredMs = 1500;
/** Less than this says too little. */
const leastMs = 150;

/** Adds up pieces of busy time. */
export class MeanRate {
  private pieces: { bytes: number; elapsedMs: number }[] = [];
  private bytes = 0;
  private elapsedMs = 0;

  /** So many bytes were carried in a time during which the link was never idle. */
  add(bytes: number, elapsedMs: number): void {
    this.pieces.push({ bytes, elapsedMs });
    this.bytes += bytes;
    this.elapsedMs += elapsedMs;
    while (this.elapsedMs - this.pieces[0].elapsedMs >= coveredMs) {
      const oldest = this.pieces.shift() as { bytes: number; elapsedMs: number };
      this.bytes -= oldest.bytes;
      this.elapsedMs -= oldest.elapsedMs;
    }
  }

  /** The mean in bytes a second; null while too little is known. */
  get bytesPerSecond(): number | null {
    return this.elapsedMs < leastMs ? null : (this.bytes / this.elapsedMs) * 1000;
  }
}
