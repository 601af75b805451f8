/**
 * The vocabulary of QMP, QEMU's control protocol: JSON objects, one a line, over a unix socket.
 *
 *     greeting = {"QMP": {"version": …, "capabilities": […]}}
 *     command  = {"execute": NAME, "arguments": {…}, "id": N}
 *     answer   = {"return": …, "id": N} | {"error": {"class": …, "desc": …}, "id": N}
 *     event    = {"event": NAME, "data": {…}, "timestamp": {"seconds": S, "microseconds": U}}
 *
 * Source: QEMU, docs/interop/qmp-spec.
 */

import { FormatError } from "../../src/errors.ts";

/** Longest line taken from QEMU, in bytes. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** The arguments of a command, or the data of an event. */
export type QmpObject = Record<string, unknown>;

/** Something that QEMU reported by itself. */
export interface QmpEvent {
  readonly name: string;
  readonly data: QmpObject;
  /** QEMU's own clock, in milliseconds since 1970, with a fraction. */
  readonly timestampMs: number;
}

/** QEMU's version as `[major, minor, micro]`. */
export type QemuVersion = readonly [major: number, minor: number, micro: number];

/** QEMU refused a command. `errorClass` and `description` are what it said. */
export class QmpError extends Error {
  override readonly name = "QmpError";
  readonly command: string;
  readonly errorClass: string;
  readonly description: string;

  constructor(command: string, errorClass: string, description: string) {
    super(`QEMU refused ${command}: ${description}`);
    this.command = command;
    this.errorClass = errorClass;
    this.description = description;
  }
}

/** The control connection ended; commands that were on their way have no answer. */
export class QmpClosedError extends Error {
  override readonly name = "QmpClosedError";
}

/** QEMU did not answer in time. The command may still be executed. */
export class QmpTimeoutError extends Error {
  override readonly name = "QmpTimeoutError";
}

/** One line from QEMU, sorted by its kind. */
export type QmpMessage =
  | { readonly kind: "greeting"; readonly version: QemuVersion }
  | { readonly kind: "return"; readonly id: unknown; readonly value: unknown }
  | {
      readonly kind: "error";
      readonly id: unknown;
      readonly errorClass: string;
      readonly description: string;
    }
  | { readonly kind: "event"; readonly event: QmpEvent };

/** Decodes one line. Throws `FormatError` when it is not a QMP message. */
export function decodeMessage(line: string): QmpMessage {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    throw new FormatError("bad-value", "Cannot decode a QMP line: it is not JSON");
  }
  if (!isObject(parsed)) throw new FormatError("bad-value", "Cannot decode a QMP line: it is not an object");
  if (isObject(parsed["QMP"])) return { kind: "greeting", version: decodeVersion(parsed["QMP"]) };
  if (typeof parsed["event"] === "string")
    return { kind: "event", event: decodeEvent(parsed["event"], parsed) };
  if ("return" in parsed) return { kind: "return", id: parsed["id"], value: parsed["return"] };
  if (isObject(parsed["error"])) {
    const { class: errorClass, desc } = parsed["error"];
    return { kind: "error", id: parsed["id"], errorClass: textOf(errorClass), description: textOf(desc) };
  }
  throw new FormatError("bad-value", "Cannot decode a QMP line: it is no greeting, answer or event");
}

/** Cuts a byte stream into lines, with a limit on their length. */
export class LineSplitter {
  readonly #limitBytes: number;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;

  constructor(limitBytes: number = MAX_LINE_BYTES) {
    this.#limitBytes = limitBytes;
  }

  /** Takes the next bytes and yields the lines that they complete, without line ends, empty ones left out. */
  *push(chunk: Uint8Array): Generator<string> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      this.#keep(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0) return;
      start = end + 1;
      const line = Buffer.concat(this.#pieces, this.#pieceBytes).toString("utf8").trim();
      this.#pieces = [];
      this.#pieceBytes = 0;
      if (line !== "") yield line;
    }
  }

  #keep(piece: Uint8Array): void {
    if (this.#pieceBytes + piece.length > this.#limitBytes) {
      throw new FormatError("bad-length", `Cannot take a QMP line: it exceeds ${this.#limitBytes} bytes`);
    }
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#pieceBytes += piece.length;
  }
}

/** Whether a JSON value is an object, not an array and not null. */
export function isObject(value: unknown): value is QmpObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decodeEvent(name: string, message: QmpObject): QmpEvent {
  const timestamp = isObject(message["timestamp"]) ? message["timestamp"] : {};
  const seconds = numberOf(timestamp["seconds"]);
  const microseconds = numberOf(timestamp["microseconds"]);
  return {
    name,
    data: isObject(message["data"]) ? message["data"] : {},
    timestampMs: seconds * 1000 + microseconds / 1000,
  };
}

function decodeVersion(greeting: QmpObject): QemuVersion {
  const version = isObject(greeting["version"]) ? greeting["version"] : {};
  const qemu = isObject(version["qemu"]) ? version["qemu"] : {};
  return [numberOf(qemu["major"]), numberOf(qemu["minor"]), numberOf(qemu["micro"])];
}

// Objects of JSON can have a member `toString`, on which String and Number throw.
function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
