/**
 * Collects the end of a stream, from the first device section on, and recognises where it ends.
 *
 * ```
 * ... device sections ... 00 06 be32-length { ... JSON ... }
 *                          |                               |
 *            end of file --+              last byte so far -+
 * ```
 *
 * Device sections carry no length and a socket with a return path stays open after the stream, so the end
 * has to be seen in the bytes: the data received so far ends with a JSON object whose length field counts
 * exactly up to its last byte. JSON has no zero byte, while the header before it has at least one. The last
 * zero byte therefore leaves only five places where the JSON can begin, and a check costs next to nothing.
 *
 * A device can hold bytes that look like such an end. They only count if a chunk ends right behind them, and
 * then the stream goes on after its end, which the decoder refuses: a guest that plants such bytes can stop
 * its own migration, not alter it.
 */

import { FormatError } from "../errors.ts";
import { readBe32 } from "./big-endian.ts";
import { type StreamLimits, sectionTypes } from "./vocabulary.ts";

const DESCRIPTION_HEADER_BYTES = 5;
const INITIAL_BYTES = 256 * 1024;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;

/**
 * Where the JSON begins, counted from the last zero byte: one of the four bytes of the length, or, if they
 * are all non-zero, the end-of-file byte before `06`.
 */
const JSON_STARTS_AFTER_ZERO = [1, 2, 3, 4, 6] as const;

/** The two parts that the end of a stream consists of. */
export interface DeviceTail {
  /** Device sections and the end-of-file byte. */
  readonly deviceState: Uint8Array;
  /** JSON text. */
  readonly vmDescription: Uint8Array;
}

export class DeviceTailCollector {
  readonly #limits: StreamLimits;
  #bytes = new Uint8Array(INITIAL_BYTES);
  #length = 0;
  #lastZero = -1;

  constructor(limits: StreamLimits) {
    this.#limits = limits;
  }

  get lengthBytes(): number {
    return this.#length;
  }

  /**
   * Adds bytes and returns the whole tail if they complete it.
   *
   * @throws FormatError "bad-length" if the tail is longer than the limits allow; `offset` is that of `chunk`
   */
  append(chunk: Uint8Array, offset: number): DeviceTail | undefined {
    const length = this.#length + chunk.length;
    const limit = this.#limits.deviceStateBytes + DESCRIPTION_HEADER_BYTES + this.#limits.vmDescriptionBytes;
    if (length > limit) throw tooLong("device state with its description", limit, offset);
    this.#reserve(length, limit);
    this.#bytes.set(chunk, this.#length);
    const zero = chunk.lastIndexOf(0);
    if (zero >= 0) this.#lastZero = this.#length + zero;
    this.#length = length;
    return this.#findEnd(offset);
  }

  #findEnd(offset: number): DeviceTail | undefined {
    const end = this.#length;
    if (this.#lastZero < 0 || this.#bytes[end - 1] !== CLOSING_BRACE) return undefined;
    for (const distance of JSON_STARTS_AFTER_ZERO) {
      const start = this.#lastZero + distance;
      if (!this.#isDescriptionAt(start, end)) continue;
      const vmDescription = this.#bytes.subarray(start, end);
      if (!isJsonObject(vmDescription)) continue;
      const deviceState = this.#bytes.subarray(0, start - DESCRIPTION_HEADER_BYTES);
      const { deviceStateBytes, vmDescriptionBytes } = this.#limits;
      if (deviceState.length > deviceStateBytes) throw tooLong("device state", deviceStateBytes, offset);
      if (vmDescription.length > vmDescriptionBytes) {
        throw tooLong("description of the device state", vmDescriptionBytes, offset);
      }
      return { deviceState, vmDescription };
    }
    return undefined;
  }

  #isDescriptionAt(start: number, end: number): boolean {
    const header = start - DESCRIPTION_HEADER_BYTES;
    return (
      header >= 1 &&
      start < end &&
      this.#bytes[start] === OPENING_BRACE &&
      this.#bytes[header - 1] === sectionTypes.endOfFile &&
      this.#bytes[header] === sectionTypes.vmDescription &&
      readBe32(this.#bytes, header + 1) === end - start
    );
  }

  #reserve(length: number, limit: number): void {
    if (length <= this.#bytes.length) return;
    let capacity = this.#bytes.length;
    while (capacity < length) capacity *= 2;
    const grown = new Uint8Array(Math.min(capacity, limit));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

function tooLong(what: string, limit: number, offset: number): FormatError {
  return new FormatError("bad-length", `Cannot decode the ${what}: it exceeds ${limit} bytes`, offset);
}

function isJsonObject(bytes: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
