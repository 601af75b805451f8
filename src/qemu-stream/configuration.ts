/** What precedes the sections of a stream: magic, version, machine type, and subsections of the configuration. */

import { FormatError, type FormatErrorCode } from "../errors.ts";
import { readAscii, readBe32 } from "./big-endian.ts";
import {
  type ConfigurationSubsection,
  MULTIFD_MAGIC,
  NAME_MAX_BYTES,
  PAGE_BYTES,
  STREAM_MAGIC,
  STREAM_VERSION,
  sectionTypes,
} from "./vocabulary.ts";

const UUID = "configuration/uuid";
const TARGET_PAGE_BITS = "configuration/target-page-bits";
const CAPABILITIES = "configuration/capabilities";

const PAGE_BITS = Math.log2(PAGE_BYTES);
const SUPPORTED_VERSION = 1;

/** Decodes magic and version. Returns the position after them, or -1 if they are not whole. */
export function decodeMagic(bytes: Uint8Array, at: number, end: number, base: number): number {
  if (end - at < 8) return -1;
  const magic = readBe32(bytes, at);
  if (magic === MULTIFD_MAGIC) throw refuse("unsupported", "multifd channels are not supported", base + at);
  if (magic !== STREAM_MAGIC) throw refuse("bad-magic", 'it does not begin with "QEVM"', base + at);
  const version = readBe32(bytes, at + 4);
  if (version !== STREAM_VERSION) throw refuse("bad-version", `version ${version} is not 3`, base + at + 4);
  return at + 8;
}

/** Decodes `07 be32-length machine-name`. Returns undefined if it is not whole. */
export function decodeMachine(
  bytes: Uint8Array,
  at: number,
  end: number,
  base: number,
): { readonly name: string; readonly next: number } | undefined {
  if (bytes[at] !== sectionTypes.configuration) {
    const cause = "streams without a machine type (machine types before 2.4) are not supported";
    throw refuse("unsupported", cause, base + at);
  }
  const nameAt = at + 5;
  if (end < nameAt) return undefined;
  const length = readBe32(bytes, at + 1);
  if (length === 0 || length > NAME_MAX_BYTES) {
    const cause = `the machine type's length ${length} is not 1 to ${NAME_MAX_BYTES}`;
    throw refuse("bad-length", cause, base + at + 1);
  }
  if (end < nameAt + length) return undefined;
  const name = readAscii(bytes, nameAt, length);
  if (name === undefined) throw refuse("bad-value", "the machine type is not printable ASCII", base + nameAt);
  return { name, next: nameAt + length };
}

/**
 * Decodes the subsection at `at`:
 *
 * ```
 * 05 u8-length name be32-version body
 *    "configuration/uuid"             body = 16 bytes
 *    "configuration/target-page-bits" body = be32
 *    "configuration/capabilities"     body = be32-count *( u8-length name )
 * ```
 *
 * QEMU lists only capabilities that change the stream's format, so any of them is refused by its name.
 * Returns undefined if the subsection is not whole. `base` is the position of `bytes[0]` in the stream.
 */
export function decodeSubsection(
  bytes: Uint8Array,
  at: number,
  end: number,
  base: number,
): { readonly subsection: ConfigurationSubsection; readonly next: number } | undefined {
  const nameAt = at + 2;
  if (end < nameAt) return undefined;
  const bodyAt = nameAt + bytes[at + 1]! + 4;
  if (end < bodyAt) return undefined;
  const name = readAscii(bytes, nameAt, bytes[at + 1]!);
  const version = readBe32(bytes, bodyAt - 4);
  if (name === undefined)
    throw refuse("bad-value", "a subsection's name is not printable ASCII", base + nameAt);

  const bodyBytes = name === UUID ? 16 : 4;
  if (name !== UUID && name !== TARGET_PAGE_BITS && name !== CAPABILITIES) {
    throw refuse("unsupported", `subsection "${name}" is not supported`, base + nameAt);
  }
  if (version !== SUPPORTED_VERSION) {
    throw refuse(
      "bad-version",
      `subsection "${name}" has version ${version} in place of 1`,
      base + bodyAt - 4,
    );
  }
  const next = bodyAt + bodyBytes;
  if (end < next) return undefined;
  if (name === TARGET_PAGE_BITS && readBe32(bytes, bodyAt) !== PAGE_BITS) {
    throw refuse("unsupported", "pages of other than 4096 bytes are not supported", base + bodyAt);
  }
  if (name === CAPABILITIES && readBe32(bytes, bodyAt) !== 0) {
    const capability = firstCapability(bytes, next, end, base);
    if (capability === undefined) return undefined;
    throw refuse("unsupported", `capability "${capability}" is not supported`, base + next);
  }
  return { subsection: { name, version, body: bytes.slice(bodyAt, next) }, next };
}

function firstCapability(bytes: Uint8Array, at: number, end: number, base: number): string | undefined {
  if (end < at + 1 || end < at + 1 + bytes[at]!) return undefined;
  const name = readAscii(bytes, at + 1, Math.min(bytes[at]!, NAME_MAX_BYTES));
  if (name === undefined) throw refuse("bad-value", "a capability is not printable ASCII", base + at);
  return name;
}

function refuse(code: FormatErrorCode, cause: string, offset: number): FormatError {
  return new FormatError(code, `Cannot decode the QEMU stream: ${cause}`, offset);
}
