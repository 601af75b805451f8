/** Helpers for tests of the stream: events as lines of text, and a small stream with every kind of item. */

import {
  encodeBlockName,
  encodeCommand,
  encodeHeader,
  encodeRamStart,
  encodeVmDescription,
  QemuStreamDecoder,
  type StreamLimits,
  type StreamSink,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/index.ts";

/** A sink that keeps one line for each event. Contents of a page are given by their first four bytes. */
export function lineSink(lines: string[]): StreamSink {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
  const named = (continued: boolean) => (continued ? "continued" : "named");
  return {
    machine: (name) => lines.push(`machine ${name}`),
    subsection: ({ name, version, body }) => lines.push(`subsection ${name} ${version} ${hex(body)}`),
    command: (command, data) => lines.push(`command ${command} ${hex(data)}`.trimEnd()),
    ramSectionBegin: (kind, id) => lines.push(`begin ${kind} ${id}`),
    ramBlocks: (blocks) => {
      for (const { index, id, lengthBytes } of blocks) lines.push(`block ${index} ${id} ${lengthBytes}`);
    },
    page: (block, page, bytes, at, continued) =>
      lines.push(`page ${block} ${page} ${named(continued)} ${hex(bytes.subarray(at, at + 4))}`),
    zeroPage: (block, page, continued) => lines.push(`zero ${block} ${page} ${named(continued)}`),
    ramSectionEnd: (kind) => lines.push(`end ${kind}`),
    deviceStateBegins: () => lines.push("device-state-begins"),
    deviceState: (tail) => lines.push(`device-state ${hex(tail)}`),
    vmDescription: (json) => lines.push(`description ${Buffer.from(json).toString("utf8")}`),
    end: () => lines.push("end"),
  };
}

/** Decodes chunks and returns the events and the decoder's last state. */
export function decodeToLines(chunks: Iterable<Uint8Array>, limits: Partial<StreamLimits> = {}) {
  const lines: string[] = [];
  const decoder = new QemuStreamDecoder(lineSink(lines), limits);
  for (const chunk of chunks) decoder.push(chunk);
  return { lines, decoder };
}

/** What the decoder throws for these bytes, also when they end too early. */
export function decodeError(bytes: Uint8Array, limits: Partial<StreamLimits> = {}): unknown {
  try {
    decodeToLines([bytes], limits).decoder.finish();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** Bytes from a compact notation: `5a`, `00*4096` (repeated), `"text"`; `;` begins a comment. */
export function bytesOf(notation: string): Uint8Array {
  const parts: Buffer[] = [];
  for (const line of notation.split("\n")) {
    for (const token of line.replace(/;.*$/, "").match(/"[^"]*"|[^\s"]+/g) ?? []) {
      const repeated = /^([0-9a-f]{2})\*(\d+)$/.exec(token);
      if (token.startsWith('"')) parts.push(Buffer.from(token.slice(1, -1), "latin1"));
      else if (repeated) parts.push(Buffer.alloc(Number(repeated[2]), Number.parseInt(repeated[1]!, 16)));
      else if (/^([0-9a-f]{2})+$/.test(token)) parts.push(Buffer.from(token, "hex"));
      else throw new TypeError(`Cannot read "${token}": not in the notation of bytes`);
    }
  }
  return Buffer.concat(parts);
}

export const DEVICE_STATE = bytesOf('04 00000000 05 "timer" 00000000 00000002 00*3 ff*24 7d 7e00000000 00');

export const DESCRIPTION = encodeVmDescription('{"page_size":4096,"devices":[{"name":"timer"},{}]}');

/** A small stream: all commands, two blocks, named and continued pages, CONTINUE across sections. */
export function smallStream(): Uint8Array {
  const uuid = { name: "configuration/uuid", version: 1, body: new Uint8Array(16).fill(0xab) };
  const blocks = [
    { id: "pc.ram", lengthBytes: 16384 },
    { id: "vga.vram", lengthBytes: 8192 },
  ];
  const [ram, vga] = blocks.map(({ id }) => encodeBlockName(id));
  const source = new Uint8Array(4096).map((_, i) => i * 7 + (i >> 8));
  const sections = new Uint8Array(32768);
  let at = writeRamSectionBegin(sections, 0, "part", 2);
  at = writePage(sections, at, 0, ram, source, 0);
  at = writeZeroPage(sections, at, 3, undefined);
  at = writeZeroPage(sections, at, 0, vga);
  at = writeRamSectionEnd(sections, at, 2);
  at = writeRamSectionBegin(sections, at, "part", 2);
  at = writePage(sections, at, 1, undefined, source, 0);
  at = writeRamSectionEnd(sections, at, 2);
  const afterParts = at;
  at = writeRamSectionBegin(sections, at, "end", 2);
  at = writePage(sections, at, 2, ram, source, 0);
  at = writeRamSectionEnd(sections, at, 2);
  return Buffer.concat([
    encodeHeader("pc-q35-10.0", [uuid]),
    encodeCommand(1),
    encodeCommand(2, bytesOf("00000001")),
    encodeRamStart(2, blocks),
    sections.subarray(0, afterParts),
    encodeCommand(11),
    sections.subarray(afterParts, at),
    DEVICE_STATE,
    DESCRIPTION,
  ]);
}

/** `bytes` in pieces whose lengths are the cuts' distances. */
export function* piecesOf(bytes: Uint8Array, lengths: Iterable<number>): Generator<Uint8Array> {
  let at = 0;
  for (const length of lengths) {
    if (at >= bytes.length) return;
    yield bytes.subarray(at, at + length);
    at += length;
  }
  if (at < bytes.length) yield bytes.subarray(at);
}

/** Pseudo-random integers from 0 up to `limit`, the same in every run. */
export function randomIntegers(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
