/**
 * Header extensions of a qcow2 image: between the header and the backing name, or the end of the first cluster.
 *
 *     extension*   type 4, length 4, data, padding to a multiple of 8
 *     end          type 0
 *
 * Only the backing format is read. The others do not matter for reading, or have an incompatible feature bit
 * by which the header was refused already.
 */

import { FormatError } from "../errors.ts";
import { readAscii, readBe32 } from "../qemu-stream/big-endian.ts";
import type { ImageFormat } from "./disk-image.ts";

const ExtensionType = { end: 0, backingFormat: 0xe2792aca } as const;

/** Longest name of a format. */
const maxFormatNameBytes = 64;

/** A format's name and its position in the file. */
export interface FormatName {
  readonly name: string;
  readonly at: number;
}

/** What was found among the extensions. */
export interface Qcow2Extensions {
  readonly formatName: FormatName | null;
}

/** Reads the extensions in `area` from `from` up to `to`. Throws FormatError "bad-length", "bad-value". */
export function decodeExtensions(area: Uint8Array, from: number, to: number): Qcow2Extensions {
  let formatName: FormatName | null = null;
  for (let at = from; at + 8 <= to; ) {
    const type = readBe32(area, at);
    const length = readBe32(area, at + 4);
    const dataAt = at + 8;
    if (type === ExtensionType.end) break;
    if (length > to - dataAt) {
      throw new FormatError(
        "bad-length",
        `Cannot read header extension: ${length} bytes, ${to - dataAt} are left`,
        at,
      );
    }
    if (type === ExtensionType.backingFormat) formatName = decodeFormatName(area, dataAt, length);
    at = dataAt + Math.ceil(length / 8) * 8;
  }
  return { formatName };
}

/** The format that a name means; null if there is no name. Throws FormatError "unsupported" for other formats. */
export function backingFormat(formatName: FormatName | null): ImageFormat | null {
  if (formatName === null) return null;
  const { name, at } = formatName;
  if (name === "raw" || name === "qcow2") return name;
  throw new FormatError(
    "unsupported",
    `Cannot read backing file: format ${name} is neither raw nor qcow2`,
    at,
  );
}

function decodeFormatName(area: Uint8Array, at: number, length: number): FormatName {
  const name = length <= maxFormatNameBytes ? readAscii(area, at, length) : undefined;
  if (name === undefined) throw new FormatError("bad-value", "Cannot read name of the backing format", at);
  return { name, at };
}
