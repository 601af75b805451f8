/** Which image of a chain answers for a position. */

import type { DiskImage, RangeKind } from "./disk-image.ts";

/** The answer where no image has data: the bytes are zero. */
export const noLevel = -1;

/**
 * Remembers for each level the range it was last asked for, since above a fragmented level lies a long range that
 * is absent: asking for it again at each fragment would take quadratic time. Images do not change while open.
 */
export class ChainCursor {
  /** Level of the image that has the data, or `noLevel`. */
  level = noLevel;
  /** For how many bytes the answer holds. */
  lengthBytes = 0;
  private readonly images: readonly DiskImage[];
  private readonly starts: Float64Array;
  private readonly ends: Float64Array;
  private readonly kinds: RangeKind[];

  constructor(images: readonly DiskImage[]) {
    this.images = images;
    this.starts = new Float64Array(images.length);
    this.ends = new Float64Array(images.length);
    this.kinds = images.map(() => "absent");
  }

  /** Looks up `at`; the result holds for 1 byte up to position `limit`. Throws FormatError. */
  locate(at: number, limit: number): void {
    this.level = noLevel;
    let end = limit;
    for (let level = 0; level < this.images.length; level++) {
      // Beyond its end an image reads as zero, whatever is under it.
      if (at >= this.images[level].lengthBytes) break;
      if (at < this.starts[level] || at >= this.ends[level]) this.ask(level, at, end);
      end = Math.min(end, this.ends[level]);
      const kind = this.kinds[level];
      if (kind === "absent") continue;
      if (kind === "data") this.level = level;
      break;
    }
    this.lengthBytes = end - at;
  }

  private ask(level: number, at: number, end: number): void {
    const image = this.images[level];
    const status = image.status(at, Math.min(end, image.lengthBytes) - at);
    this.starts[level] = at;
    this.ends[level] = at + status.lengthBytes;
    this.kinds[level] = status.kind;
  }
}
