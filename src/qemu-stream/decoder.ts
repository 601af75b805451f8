/**
 * Push-fed decoder of QEMU's migration stream. It knows no sockets and calls a sink for what it finds.
 *
 * ```
 * header -> configuration -> subsections -> before-ram
 *   --[01]------> block-total -> block-list -> end-of-section -> footer -> between-parts
 *   --[02 | 03]-> pages -> footer -> between-parts; behind an END: after-ram
 *   --[04 | 00]-> device -> done
 * ```
 */

import { FormatError, type FormatErrorCode } from "../errors.ts";
import { readAscii, readBe16, readBe32 } from "./big-endian.ts";
import { COMMAND_HEADER_BYTES, decodeCommand } from "./command.ts";
import { decodeMachine, decodeMagic, decodeSubsection } from "./configuration.ts";
import { DeviceTailCollector } from "./device-tail.ts";
import { afterSection, allowedAt, type Phase, placeOf } from "./phases.ts";
import { PushWindow } from "./push-window.ts";
import { RamSectionDecoder } from "./ram-section.ts";
import {
  defaultStreamLimits,
  RAM_SECTION_INSTANCE,
  RAM_SECTION_NAME,
  RAM_SECTION_VERSION,
  type RamSectionKind,
  type StreamLimits,
  type StreamSink,
  sectionTypes,
} from "./vocabulary.ts";

/** Where a decoder stands: before the first section, among them, in the device state, or at the end. */
export type StreamState = "header" | "sections" | "device" | "done";

const NEED_MORE = -1;

/**
 * Decodes one stream.
 *
 * A caller with its own window calls `consume` and keeps what was not consumed in front of the next bytes;
 * other callers `push` chunks of any size. `state` becomes "done" with the last byte of the stream: the
 * connection need not close. After an error every further call throws the same error.
 *
 * @example
 * const decoder = new QemuStreamDecoder({ zeroPage: (block, page) => console.log(block, page) });
 * for await (const chunk of socket) decoder.push(chunk);
 * decoder.finish();
 */
export class QemuStreamDecoder {
  readonly #sink: StreamSink;
  readonly #ram: RamSectionDecoder;
  readonly #tail: DeviceTailCollector;
  readonly #pushed = new PushWindow();
  #phase: Phase = "header";
  #section: RamSectionKind = "start";
  #sectionId = 0;
  /** Position in the stream of the first byte of the current window. */
  #base = 0;
  #failure: unknown;

  constructor(sink: StreamSink, limits: Partial<StreamLimits> = {}) {
    const all = { ...defaultStreamLimits, ...limits };
    this.#sink = sink;
    this.#ram = new RamSectionDecoder(all);
    this.#tail = new DeviceTailCollector(all);
  }

  /** Where the decoder stands. */
  get state(): StreamState {
    const phase = this.#phase;
    if (phase === "device" || phase === "done") return phase;
    return phase === "header" || phase === "configuration" ? "header" : "sections";
  }

  /** Number of bytes decoded so far. */
  get position(): number {
    return this.#base;
  }

  /**
   * Decodes the whole items in the first `length` bytes and returns how many bytes they were. The rest must
   * stand in front of the next call's bytes. A window of `MAX_ITEM_BYTES` always makes progress.
   *
   * @throws FormatError if the bytes are not a stream that this decoder supports
   */
  consume(bytes: Uint8Array, length: number = bytes.length): number {
    if (!Number.isInteger(length) || length < 0 || length > bytes.length) {
      throw new RangeError(`Cannot consume ${length} bytes: the window has ${bytes.length}`);
    }
    if (this.#failure !== undefined) throw this.#failure;
    try {
      let at = 0;
      while (at < length) {
        const next = this.#step(bytes, at, length);
        if (next === NEED_MORE) break;
        at = next;
      }
      this.#base += at;
      return at;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /**
   * Decodes a chunk of any size and keeps what is not a whole item for the next one.
   *
   * @throws FormatError as `consume` does
   */
  push(chunk: Uint8Array): void {
    this.#pushed.push(chunk, (bytes, length) => this.consume(bytes, length));
  }

  /**
   * Says that the input has ended.
   *
   * @throws FormatError "truncated" if the stream is not complete
   */
  finish(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#phase === "done") return;
    throw this.#error("truncated", `it ends ${placeOf[this.#phase]}`, 0);
  }

  /** Decodes one item, or a run of pages. Returns the position after it, or NEED_MORE. */
  #step(bytes: Uint8Array, at: number, end: number): number {
    switch (this.#phase) {
      case "header":
        return this.#advance(decodeMagic(bytes, at, end, this.#base), "configuration");
      case "configuration":
        return this.#configuration(bytes, at, end);
      case "subsections":
      case "before-ram":
      case "between-parts":
      case "after-ram":
        return this.#boundary(bytes, at, end);
      case "block-total":
        return this.#advance(this.#ram.decodeTotal(bytes, at, end, this.#base), "block-list");
      case "block-list":
        return this.#blockList(bytes, at, end);
      case "pages":
        return this.#pages(bytes, at, end);
      case "end-of-section":
        return this.#advance(this.#ram.decodeEndOfSection(bytes, at, end, this.#base, false), "footer");
      case "footer":
        return this.#footer(bytes, at, end);
      case "device":
        return this.#device(bytes, at, end);
      case "done":
        throw this.#error("bad-value", "bytes follow after its end", at);
    }
  }

  #advance(next: number, phase: Phase): number {
    if (next !== NEED_MORE) this.#phase = phase;
    return next;
  }

  #configuration(bytes: Uint8Array, at: number, end: number): number {
    const decoded = decodeMachine(bytes, at, end, this.#base);
    if (decoded === undefined) return NEED_MORE;
    this.#phase = "subsections";
    this.#sink.machine?.(decoded.name);
    return decoded.next;
  }

  #boundary(bytes: Uint8Array, at: number, end: number): number {
    const type = bytes[at]!;
    if (!allowedAt[this.#phase]!.includes(type)) return this.#refuseSection(bytes, at, end);
    switch (type) {
      case sectionTypes.subsection:
        return this.#subsection(bytes, at, end);
      case sectionTypes.command:
        return this.#command(bytes, at, end);
      case sectionTypes.start:
        return this.#sectionStart(bytes, at, end);
      case sectionTypes.part:
      case sectionTypes.end:
        return this.#sectionContinuation(bytes, at, end);
      default:
        this.#phase = "device";
        this.#sink.deviceStateBegins?.();
        return at;
    }
  }

  #subsection(bytes: Uint8Array, at: number, end: number): number {
    const decoded = decodeSubsection(bytes, at, end, this.#base);
    if (decoded === undefined) return NEED_MORE;
    this.#sink.subsection?.(decoded.subsection);
    return decoded.next;
  }

  #command(bytes: Uint8Array, at: number, end: number): number {
    const next = decodeCommand(bytes, at, end, this.#base);
    if (next === NEED_MORE) return NEED_MORE;
    if (this.#phase === "subsections") this.#phase = "before-ram";
    this.#sink.command?.(readBe16(bytes, at + 1), bytes.subarray(at + COMMAND_HEADER_BYTES, next));
    return next;
  }

  #sectionStart(bytes: Uint8Array, at: number, end: number): number {
    const name = this.#sectionName(bytes, at, end);
    if (name === undefined) return NEED_MORE;
    if (name !== RAM_SECTION_NAME) throw this.#unsupported(`section "${name}" is`, at);
    const versionAt = at + 6 + name.length;
    if (end < versionAt + 8) return NEED_MORE;
    const instance = readBe32(bytes, versionAt);
    const version = readBe32(bytes, versionAt + 4);
    if (instance !== RAM_SECTION_INSTANCE) {
      throw this.#error("bad-value", `the ram section's instance is ${instance} in place of 0`, versionAt);
    }
    if (version !== RAM_SECTION_VERSION) {
      throw this.#error("bad-version", `the ram section has version ${version} in place of 4`, versionAt + 4);
    }
    this.#sectionId = readBe32(bytes, at + 1);
    this.#beginSection("start", "block-total");
    return versionAt + 8;
  }

  #sectionContinuation(bytes: Uint8Array, at: number, end: number): number {
    if (end - at < 5) return NEED_MORE;
    const id = readBe32(bytes, at + 1);
    if (id !== this.#sectionId) {
      throw this.#error("bad-value", `section ${id} goes on but ram's id is ${this.#sectionId}`, at + 1);
    }
    this.#beginSection(bytes[at] === sectionTypes.part ? "part" : "end", "pages");
    return at + 5;
  }

  #beginSection(kind: RamSectionKind, phase: Phase): void {
    this.#section = kind;
    this.#phase = phase;
    this.#sink.ramSectionBegin?.(kind, this.#sectionId);
  }

  #blockList(bytes: Uint8Array, at: number, end: number): number {
    const next = this.#ram.decodeBlock(bytes, at, end, this.#base);
    if (next !== NEED_MORE && this.#ram.isBlockListComplete) {
      this.#phase = "end-of-section";
      this.#sink.ramBlocks?.(this.#ram.blocks);
    }
    return next;
  }

  #pages(bytes: Uint8Array, at: number, end: number): number {
    const next = this.#ram.decodePages(bytes, at, end, this.#base, this.#sink);
    const eos = this.#ram.decodeEndOfSection(bytes, next, end, this.#base, true);
    if (eos !== NEED_MORE) return this.#advance(eos, "footer");
    return next > at ? next : NEED_MORE;
  }

  #footer(bytes: Uint8Array, at: number, end: number): number {
    if (end - at < 5) return NEED_MORE;
    if (bytes[at] !== sectionTypes.footer || readBe32(bytes, at + 1) !== this.#sectionId) {
      throw this.#error(
        "bad-value",
        `the ram section lacks its footer, 7e and its id ${this.#sectionId}`,
        at,
      );
    }
    this.#phase = afterSection[this.#section];
    this.#sink.ramSectionEnd?.(this.#section);
    return at + 5;
  }

  #device(bytes: Uint8Array, at: number, end: number): number {
    const tail = this.#tail.append(bytes.subarray(at, end), this.#base + at);
    if (tail !== undefined) {
      this.#phase = "done";
      this.#sink.deviceState?.(tail.deviceState);
      this.#sink.vmDescription?.(tail.vmDescription);
      this.#sink.end?.();
    }
    return end;
  }

  /** Refuses a section type that may not stand here, by the name of what it would begin. */
  #refuseSection(bytes: Uint8Array, at: number, end: number): number {
    const type = bytes[at]!;
    if (type === sectionTypes.start || type === sectionTypes.full) {
      const name = this.#sectionName(bytes, at, end);
      if (name === undefined) return NEED_MORE;
      if (type === sectionTypes.full) {
        throw this.#unsupported(`device state ("${name}") before the end of RAM is`, at);
      }
      if (name !== RAM_SECTION_NAME) throw this.#unsupported(`section "${name}" is`, at);
    }
    const found = `0x${type.toString(16).padStart(2, "0")}`;
    throw this.#error("bad-value", `section type ${found} cannot stand ${placeOf[this.#phase]}`, at);
  }

  /** The name in the header of a START or FULL section, or undefined if it is not whole. */
  #sectionName(bytes: Uint8Array, at: number, end: number): string | undefined {
    if (end - at < 6) return undefined;
    const length = bytes[at + 5]!;
    if (end - at < 6 + length) return undefined;
    const name = readAscii(bytes, at + 6, length);
    if (name === undefined) throw this.#error("bad-value", "a section's name is not printable ASCII", at + 6);
    return name;
  }

  #unsupported(what: string, at: number): FormatError {
    return this.#error("unsupported", `${what} not supported`, at);
  }

  #error(code: FormatErrorCode, cause: string, at: number) {
    return new FormatError(code, `Cannot decode the QEMU stream: ${cause}`, this.#base + at);
  }
}
