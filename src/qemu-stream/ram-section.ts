/**
 * The body of QEMU's `ram` sections: the list of blocks, and the records of pages.
 *
 * Pages are the hot path: `decodePages` allocates nothing and calls the sink with a position in the
 * caller's own bytes.
 */

import { FormatError } from "../errors.ts";
import { readAscii, readBe32, readBe64 } from "./big-endian.ts";
import {
  PAGE_BYTES,
  type RamBlock,
  ramFlags,
  refusedRamFlagNames,
  type StreamLimits,
  type StreamSink,
} from "./vocabulary.ts";

const RECORD_BYTES = 8;
const FLAG_MASK = PAGE_BYTES - 1;

const { zero: ZERO, page: PAGE, continued: CONTINUED } = ramFlags;

/** The blocks of a stream and the block that was named last. State that lives as long as the stream. */
export class RamSectionDecoder {
  readonly blocks: RamBlock[] = [];
  readonly #limits: StreamLimits;
  readonly #ids: Uint8Array[] = [];
  readonly #pageCounts: number[] = [];
  readonly #seen = new Set<string>();
  /** Bytes of the announced total that no block has accounted for yet. */
  #unlistedBytes = 0;
  #current = -1;

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  /** Whether the blocks seen so far add up to the announced total. */
  get isBlockListComplete(): boolean {
    return this.#unlistedBytes === 0;
  }

  /** Decodes the record that opens the block list. Returns the position after it, or -1 if it is not whole. */
  decodeTotal(bytes: Uint8Array, at: number, end: number, base: number): number {
    if (end - at < RECORD_BYTES) return -1;
    const flags = recordFlags(bytes, at);
    if (flags !== ramFlags.memorySize) throw unexpectedRecord(flags, base + at, "the list of RAM blocks");
    const total = readBe64(bytes, at) - flags;
    if (total === 0 || total > this.#limits.ramBytes) {
      throw new FormatError(
        "bad-length",
        `Cannot decode the RAM block list: its total of ${total} bytes is not between 1 and ${this.#limits.ramBytes}`,
        base + at,
      );
    }
    this.#unlistedBytes = total;
    return at + RECORD_BYTES;
  }

  /** Decodes one entry of the block list. Returns the position after it, or -1 if it is not whole. */
  decodeBlock(bytes: Uint8Array, at: number, end: number, base: number): number {
    if (end - at < 1) return -1;
    const idBytes = bytes[at]!;
    const next = at + 1 + idBytes + 8;
    if (end < next) return -1;
    const index = this.blocks.length;
    const what = `RAM block ${index}`;
    if (index >= this.#limits.ramBlocks) {
      throw new FormatError(
        "bad-length",
        `Cannot decode ${what}: the limit is ${this.#limits.ramBlocks} blocks`,
        base + at,
      );
    }
    const id = readAscii(bytes, at + 1, idBytes);
    if (id === undefined || id === "") {
      throw new FormatError("bad-value", `Cannot decode ${what}: its id is not printable ASCII`, base + at);
    }
    if (this.#seen.has(id)) {
      throw new FormatError("bad-value", `Cannot decode ${what}: the id "${id}" is listed twice`, base + at);
    }
    const lengthBytes = readBe64(bytes, next - 8);
    if (lengthBytes === 0 || lengthBytes % PAGE_BYTES !== 0 || lengthBytes > this.#unlistedBytes) {
      throw new FormatError(
        "bad-length",
        `Cannot decode ${what} "${id}": its length ${lengthBytes} is not a multiple of 4096 up to the remaining ${this.#unlistedBytes}`,
        base + next - 8,
      );
    }
    this.#unlistedBytes -= lengthBytes;
    this.#seen.add(id);
    this.#ids.push(bytes.slice(at + 1, at + 1 + idBytes));
    this.#pageCounts.push(lengthBytes / PAGE_BYTES);
    this.blocks.push({ id, lengthBytes, index });
    return next;
  }

  /**
   * Decodes whole page records, as many as there are. Returns the position of the first byte that it did
   * not decode: the end, a record that is not whole, or a record that is not a page.
   */
  decodePages(bytes: Uint8Array, start: number, end: number, base: number, sink: StreamSink): number {
    let at = start;
    while (end - at >= RECORD_BYTES) {
      const low = readBe32(bytes, at + 4);
      const flags = low & FLAG_MASK;
      const kind = flags & ~CONTINUED;
      if (kind !== PAGE && kind !== ZERO) break;

      let dataAt = at + RECORD_BYTES;
      let block = this.#current;
      if ((flags & CONTINUED) === 0) {
        if (dataAt >= end) break;
        dataAt += 1 + bytes[dataAt]!;
        if (dataAt >= end) break;
        block = this.#find(bytes, at + RECORD_BYTES, base);
      } else if (block < 0) {
        throw new FormatError(
          "bad-value",
          "Cannot decode a RAM page: no block was named before it",
          base + at,
        );
      }
      const next = dataAt + (kind === PAGE ? PAGE_BYTES : 1);
      if (next > end) break;

      const page = readBe32(bytes, at) * 0x10_0000 + (low >>> 12);
      if (page >= this.#pageCounts[block]!) throw this.#outside(block, page, base + at);
      this.#current = block;
      if (kind === PAGE) {
        sink.page?.(block, page, bytes, dataAt, (flags & CONTINUED) !== 0);
      } else {
        if (bytes[dataAt] !== 0) {
          throw new FormatError(
            "bad-value",
            `Cannot decode a RAM page: it is filled with ${bytes[dataAt]} where only 0 is allowed`,
            base + dataAt,
          );
        }
        sink.zeroPage?.(block, page, (flags & CONTINUED) !== 0);
      }
      at = next;
    }
    return at;
  }

  /**
   * Decodes the record that ends a section, where `decodePages` or the block list stopped. Returns the
   * position after it, or -1 if more bytes are needed.
   */
  decodeEndOfSection(bytes: Uint8Array, at: number, end: number, base: number, inPages: boolean): number {
    if (end - at < RECORD_BYTES) return -1;
    const flags = recordFlags(bytes, at);
    const kind = flags & ~CONTINUED;
    if (inPages && (kind === PAGE || kind === ZERO)) return -1;
    if (flags !== ramFlags.endOfSection) throw unexpectedRecord(flags, base + at, "the end of a RAM section");
    if (readBe64(bytes, at) !== flags) {
      throw new FormatError(
        "bad-value",
        "Cannot decode the end of a RAM section: it has an offset",
        base + at,
      );
    }
    return at + RECORD_BYTES;
  }

  /** The number of the block whose id (with its length in front) stands at `at`. */
  #find(bytes: Uint8Array, at: number, base: number): number {
    const length = bytes[at]!;
    for (let index = 0; index < this.#ids.length; index++) {
      const id = this.#ids[index]!;
      if (id.length !== length) continue;
      let i = 0;
      while (i < length && id[i] === bytes[at + 1 + i]) i++;
      if (i === length) return index;
    }
    const id = readAscii(bytes, at + 1, length);
    throw new FormatError(
      "bad-value",
      `Cannot decode a RAM page: its block ${id === undefined ? "" : `"${id}" `}is not in the block list`,
      base + at,
    );
  }

  #outside(block: number, page: number, offset: number): FormatError {
    const { id, lengthBytes } = this.blocks[block]!;
    const message = `Cannot decode a RAM page: page ${page} lies outside block "${id}" of ${lengthBytes} bytes`;
    return new FormatError("bad-value", message, offset);
  }
}

function recordFlags(bytes: Uint8Array, at: number): number {
  return readBe32(bytes, at + 4) & FLAG_MASK;
}

function unexpectedRecord(flags: number, offset: number, expected: string): FormatError {
  for (const [flag, name] of refusedRamFlagNames) {
    if ((flags & flag) !== 0) {
      return new FormatError("unsupported", `Cannot decode RAM: ${name} records are not supported`, offset);
    }
  }
  const found = `0x${flags.toString(16).padStart(3, "0")}`;
  return new FormatError(
    "bad-value",
    `Cannot decode RAM: flags ${found} stand where ${expected} should`,
    offset,
  );
}
