/** A raw image: the file is the disk. All of it is data, since holes of files cannot be seen portably. */

import { type ByteSource, readExactly } from "./byte-source.ts";
import { checkRange, type DiskImage } from "./disk-image.ts";

/** Opens a raw image. The image closes the source. */
export function openRawImage(source: ByteSource): DiskImage {
  const lengthBytes = source.sizeBytes;
  return {
    lengthBytes,
    backing: null,
    status: (at, length) => {
      checkRange(at, length, lengthBytes);
      return { kind: "data", lengthBytes: length };
    },
    read: (memory, target, length, at) => {
      checkRange(at, length, lengthBytes);
      readExactly(source, memory, target, length, at, "raw image");
    },
    close: () => source.close(),
  };
}
