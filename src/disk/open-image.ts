/** Opens images of every format that is known. */

import { readBe32 } from "../qemu-stream/big-endian.ts";
import type { ByteSource } from "./byte-source.ts";
import type { DiskImage, ImageFormat } from "./disk-image.ts";
import { qcow2Magic } from "./qcow2-header.ts";
import { type Decompressors, openQcow2Image } from "./qcow2-image.ts";
import { openRawImage } from "./raw-image.ts";

/**
 * Opens one image file, without the image under it; the image then closes the source.
 * Throws FormatError if the image is damaged or not supported; the source is then still open.
 *
 *     const image = openImage(source, "qcow2", { inflateRaw });
 *     image.status(0, image.lengthBytes); // { kind: "absent", lengthBytes: 65536 }
 */
export function openImage(source: ByteSource, format: ImageFormat, decompressors?: Decompressors): DiskImage {
  if (format === "raw") return openRawImage(source);
  return openQcow2Image(source, decompressors);
}

/**
 * The format that the first bytes show. A guest can write the magic of qcow2 to a raw disk: use this only where
 * nothing trusted says the format.
 */
export function probeFormat(source: ByteSource): ImageFormat {
  const start = new Uint8Array(4);
  const got = source.read(start, 0, start.length, 0);
  return got === start.length && readBe32(start, 0) === qcow2Magic ? "qcow2" : "raw";
}
