/** What every image format answers: where its own bytes are, and what they are. */

import type { FormatError } from "../errors.ts";

/** A format of disk images. */
export type ImageFormat = "raw" | "qcow2";

/** The image under an image, as its header names it. `format` is null if the header does not say. */
export interface BackingReference {
  readonly file: string;
  readonly format: ImageFormat | null;
}

/**
 * What an image itself says of a range. `data`: it holds the bytes; `zero`: they are zero, whatever is under it;
 * `absent`: the image under it answers, and without one they are zero.
 */
export type RangeKind = "data" | "zero" | "absent";

/** A kind, and for how many bytes it holds. */
export interface RangeStatus {
  readonly kind: RangeKind;
  readonly lengthBytes: number;
}

/**
 * One image file, without the image under it. Methods throw {@link FormatError} if the file is damaged there,
 * RangeError if the range does not lie in the disk.
 */
export interface DiskImage {
  /** Size of the disk in bytes; any number, not only multiples of a block. */
  readonly lengthBytes: number;
  readonly backing: BackingReference | null;
  /** What holds from `at` on, and for how many bytes: 1 to `length`. */
  status(at: number, length: number): RangeStatus;
  /** Reads bytes of kind `data`. Throws RangeError if some are of another kind. */
  read(memory: Uint8Array, target: number, length: number, at: number): void;
  /** Closes the source. */
  close(): void;
}

/** Throws RangeError unless `length` bytes, at least one, lie in the disk. */
export function checkRange(at: number, length: number, lengthBytes: number): void {
  const isInside = Number.isSafeInteger(at) && at >= 0 && length > 0 && length <= lengthBytes - at;
  if (!isInside || !Number.isSafeInteger(length)) {
    throw new RangeError(`Cannot read ${length} bytes at ${at}: the disk has ${lengthBytes} bytes`);
  }
}
