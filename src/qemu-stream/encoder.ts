/**
 * Encodes QEMU's migration stream; the grammar is in `vocabulary.ts`.
 *
 * `encode…` functions return bytes. `write…` functions are for the hot path: they write at a position of the
 * caller's buffer, which must have room, allocate nothing and return the position after what they wrote.
 *
 * A reduced stream, for a QEMU whose RAM is already mapped to a base, is: header, RAM START with all blocks,
 * any number of PARTs with the pages that differ, an empty END, the device state, a description.
 */

import { isAscii, writeAscii, writeBe16, writeBe32, writeBe64 } from "./big-endian.ts";
import {
  type ConfigurationSubsection,
  NAME_MAX_BYTES,
  PAGE_BYTES,
  RAM_SECTION_INSTANCE,
  RAM_SECTION_NAME,
  RAM_SECTION_VERSION,
  type RamBlock,
  ramFlags,
  STREAM_MAGIC,
  STREAM_VERSION,
  sectionTypes,
} from "./vocabulary.ts";

/** The bytes that `writeRamSectionBegin` writes. */
export const RAM_SECTION_BEGIN_BYTES = 5;
/** The bytes that `writeRamSectionEnd` writes. */
export const RAM_SECTION_END_BYTES = 13;
/** The most bytes that one page takes: offset, block id, contents. */
export const PAGE_RECORD_MAX_BYTES = 8 + 1 + NAME_MAX_BYTES + PAGE_BYTES;

const PAGES_PER_HIGH_WORD = 0x10_0000;

/** Magic, version, and the configuration section with the machine type such as "pc-i440fx-7.2". */
export function encodeHeader(
  machine: string,
  subsections: readonly ConfigurationSubsection[] = [],
): Uint8Array {
  requireName(machine, "machine type");
  let length = 8 + 5 + machine.length;
  for (const { name, body } of subsections) {
    requireName(name, "subsection name");
    length += 2 + name.length + 4 + body.length;
  }
  const bytes = new Uint8Array(length);
  let at = writeBe32(bytes, 0, STREAM_MAGIC);
  at = writeBe32(bytes, at, STREAM_VERSION);
  bytes[at++] = sectionTypes.configuration;
  at = writeBe32(bytes, at, machine.length);
  at = writeAscii(bytes, at, machine);
  for (const { name, version, body } of subsections) {
    bytes[at++] = sectionTypes.subsection;
    at = writeName(bytes, at, name);
    at = writeBe32(bytes, at, version);
    bytes.set(body, at);
    at += body.length;
  }
  return bytes;
}

/** A command; `data` is up to 65535 bytes. */
export function encodeCommand(command: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  if (data.length > 0xffff)
    throw new RangeError(`Cannot encode command ${command}: ${data.length} bytes of data`);
  const bytes = new Uint8Array(5 + data.length);
  bytes[0] = sectionTypes.command;
  writeBe16(bytes, 1, command);
  writeBe16(bytes, 3, data.length);
  bytes.set(data, 5);
  return bytes;
}

/** The whole START section of RAM: the list of blocks in the order given. */
export function encodeRamStart(sectionId: number, blocks: readonly Omit<RamBlock, "index">[]): Uint8Array {
  let length = 5 + 1 + RAM_SECTION_NAME.length + 8 + 8 + RAM_SECTION_END_BYTES;
  let total = 0;
  for (const { id, lengthBytes } of blocks) {
    requireName(id, "RAM block id");
    if (!Number.isSafeInteger(lengthBytes) || lengthBytes <= 0 || lengthBytes % PAGE_BYTES !== 0) {
      throw new RangeError(
        `Cannot encode RAM block "${id}": length ${lengthBytes} is not a multiple of 4096`,
      );
    }
    length += 1 + id.length + 8;
    total += lengthBytes;
  }
  if (total === 0) throw new RangeError("Cannot encode a RAM section: it has no blocks");
  const bytes = new Uint8Array(length);
  bytes[0] = sectionTypes.start;
  let at = writeBe32(bytes, 1, sectionId);
  at = writeName(bytes, at, RAM_SECTION_NAME);
  at = writeBe32(bytes, at, RAM_SECTION_INSTANCE);
  at = writeBe32(bytes, at, RAM_SECTION_VERSION);
  at = writeBe64(bytes, at, total + ramFlags.memorySize);
  for (const { id, lengthBytes } of blocks) {
    at = writeName(bytes, at, id);
    at = writeBe64(bytes, at, lengthBytes);
  }
  writeRamSectionEnd(bytes, at, sectionId);
  return bytes;
}

/** An END section of RAM without pages. */
export function encodeRamEnd(sectionId: number): Uint8Array {
  const bytes = new Uint8Array(RAM_SECTION_BEGIN_BYTES + RAM_SECTION_END_BYTES);
  writeRamSectionEnd(bytes, writeRamSectionBegin(bytes, 0, "end", sectionId), sectionId);
  return bytes;
}

/** The description after the device state. `json` is text or its UTF-8 bytes; "{}" is enough for QEMU. */
export function encodeVmDescription(json: string | Uint8Array = "{}"): Uint8Array {
  const text = typeof json === "string" ? new TextEncoder().encode(json) : json;
  const bytes = new Uint8Array(5 + text.length);
  bytes[0] = sectionTypes.vmDescription;
  writeBe32(bytes, 1, text.length);
  bytes.set(text, 5);
  return bytes;
}

/** A block's id as it stands in a page record: its length in one byte, then ASCII. */
export function encodeBlockName(id: string): Uint8Array {
  requireName(id, "RAM block id");
  const bytes = new Uint8Array(1 + id.length);
  writeName(bytes, 0, id);
  return bytes;
}

/** Begins a PART or END section; page records follow, then `writeRamSectionEnd`. */
export function writeRamSectionBegin(
  target: Uint8Array,
  at: number,
  kind: "part" | "end",
  sectionId: number,
): number {
  target[at] = kind === "part" ? sectionTypes.part : sectionTypes.end;
  return writeBe32(target, at + 1, sectionId);
}

/** Ends a section of RAM: the end record and the footer. */
export function writeRamSectionEnd(target: Uint8Array, at: number, sectionId: number): number {
  const next = writeBe64(target, at, ramFlags.endOfSection);
  target[next] = sectionTypes.footer;
  return writeBe32(target, next + 1, sectionId);
}

/**
 * Writes a page with its 4096 bytes at `source[sourceAt]`. `blockName` comes from `encodeBlockName`;
 * undefined says CONTINUE: the page is in the block that the stream named last.
 */
export function writePage(
  target: Uint8Array,
  at: number,
  page: number,
  blockName: Uint8Array | undefined,
  source: Uint8Array,
  sourceAt: number,
): number {
  const next = writePageHeader(target, at, page, blockName);
  target.set(source.subarray(sourceAt, sourceAt + PAGE_BYTES), next);
  return next + PAGE_BYTES;
}

/** Writes what stands before a page's 4096 bytes, for callers that put them there themselves. */
export function writePageHeader(
  target: Uint8Array,
  at: number,
  page: number,
  blockName: Uint8Array | undefined,
): number {
  return writeRecordHeader(target, at, page, ramFlags.page, blockName);
}

/** Writes a page whose bytes are all zero: 9 bytes and the block's name. */
export function writeZeroPage(
  target: Uint8Array,
  at: number,
  page: number,
  blockName: Uint8Array | undefined,
): number {
  const next = writeRecordHeader(target, at, page, ramFlags.zero, blockName);
  target[next] = 0;
  return next + 1;
}

function writeRecordHeader(
  target: Uint8Array,
  at: number,
  page: number,
  flag: number,
  blockName: Uint8Array | undefined,
): number {
  const flags = blockName === undefined ? flag | ramFlags.continued : flag;
  writeBe32(target, at, Math.floor(page / PAGES_PER_HIGH_WORD));
  const next = writeBe32(target, at + 4, (page << 12) | flags);
  if (blockName === undefined) return next;
  target.set(blockName, next);
  return next + blockName.length;
}

function writeName(target: Uint8Array, at: number, name: string): number {
  target[at] = name.length;
  return writeAscii(target, at + 1, name);
}

function requireName(name: string, what: string): void {
  if (!isAscii(name, NAME_MAX_BYTES)) {
    throw new RangeError(
      `Cannot encode a ${what}: it is not 1 to ${NAME_MAX_BYTES} printable ASCII characters`,
    );
  }
}
