/** Parts of an image's tables in memory: the ones used last, in bounded memory whatever the disk's size. */

import { FormatError } from "../errors.ts";
import { type ByteSource, readExactly } from "./byte-source.ts";

const budgetBytes = 1 << 22;
const maxSlices = 1024;

/** Slices of `sliceBytes`, each named by its position in the source. */
export class SliceCache {
  private readonly source: ByteSource;
  private readonly sliceBytes: number;
  private readonly capacity: number;
  /** In the order of last use, the oldest first. */
  private readonly slices = new Map<number, Uint8Array>();
  private lastAt = -1;
  private last: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource, sliceBytes: number) {
    this.source = source;
    this.sliceBytes = sliceBytes;
    this.capacity = Math.min(maxSlices, Math.max(1, Math.floor(budgetBytes / sliceBytes)));
  }

  /**
   * The slice at `at`, valid until the next call. Beyond the end of the source it has zeroes.
   * Throws FormatError "truncated" if the source ends before it.
   */
  slice(at: number): Uint8Array {
    if (at === this.lastAt) return this.last;
    let slice = this.slices.get(at);
    if (slice !== undefined) this.slices.delete(at);
    else slice = this.load(at);
    this.slices.set(at, slice);
    this.lastAt = at;
    this.last = slice;
    return slice;
  }

  private load(at: number): Uint8Array {
    const length = Math.min(this.sliceBytes, this.source.sizeBytes - at);
    if (length <= 0) throw new FormatError("truncated", "Cannot read qcow2 table: the file ends before", at);
    const slice = this.takeBuffer();
    readExactly(this.source, slice, 0, length, at, "qcow2 table");
    slice.fill(0, length);
    return slice;
  }

  /** A new buffer, or that of the slice which was not used for longest. */
  private takeBuffer(): Uint8Array {
    if (this.slices.size < this.capacity) return new Uint8Array(this.sliceBytes);
    const [[at, buffer]] = this.slices;
    this.slices.delete(at);
    if (at === this.lastAt) this.lastAt = -1;
    return buffer;
  }
}
