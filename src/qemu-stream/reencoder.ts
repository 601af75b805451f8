/** Turns a decoder's events into the stream they came from, byte for byte. */

import {
  encodeBlockName,
  encodeCommand,
  encodeHeader,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "./encoder.ts";
import type { ConfigurationSubsection, RamBlock, RamSectionKind, StreamSink } from "./vocabulary.ts";

const BUFFER_BYTES = 256 * 1024;

/**
 * A sink that encodes what it is told and hands the bytes to `write`, in pieces of up to 256 KiB. Each piece
 * is valid during the call only. The last piece is handed over by `end`.
 *
 * @example
 * const decoder = new QemuStreamDecoder(new StreamReencoder((bytes) => socket.write(bytes.slice())));
 */
export class StreamReencoder implements StreamSink {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #names: Uint8Array[] = [];
  readonly #subsections: ConfigurationSubsection[] = [];
  #length = 0;
  #machine: string | undefined;
  #sectionId = 0;

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
  }

  machine(name: string): void {
    this.#machine = name;
  }

  subsection(subsection: ConfigurationSubsection): void {
    this.#subsections.push(subsection);
  }

  command(command: number, data: Uint8Array): void {
    this.#header();
    this.#put(encodeCommand(command, data));
  }

  ramSectionBegin(kind: RamSectionKind, sectionId: number): void {
    this.#header();
    this.#sectionId = sectionId;
    if (kind === "start") return;
    this.#reserve(RAM_SECTION_BEGIN_BYTES);
    this.#length = writeRamSectionBegin(this.#buffer, this.#length, kind, sectionId);
  }

  ramBlocks(blocks: readonly RamBlock[]): void {
    for (const { id } of blocks) this.#names.push(encodeBlockName(id));
    this.#put(encodeRamStart(this.#sectionId, blocks));
  }

  page(block: number, page: number, bytes: Uint8Array, at: number, continued: boolean): void {
    this.#reserve(PAGE_RECORD_MAX_BYTES);
    const name = continued ? undefined : this.#names[block];
    this.#length = writePage(this.#buffer, this.#length, page, name, bytes, at);
  }

  zeroPage(block: number, page: number, continued: boolean): void {
    this.#reserve(PAGE_RECORD_MAX_BYTES);
    this.#length = writeZeroPage(
      this.#buffer,
      this.#length,
      page,
      continued ? undefined : this.#names[block],
    );
  }

  ramSectionEnd(kind: RamSectionKind): void {
    if (kind === "start") return;
    this.#reserve(RAM_SECTION_END_BYTES);
    this.#length = writeRamSectionEnd(this.#buffer, this.#length, this.#sectionId);
  }

  deviceState(tail: Uint8Array): void {
    this.#put(tail);
  }

  vmDescription(json: Uint8Array): void {
    this.#put(encodeVmDescription(json));
  }

  end(): void {
    this.#flush();
  }

  /** Subsections follow the machine type, so the header is encoded with the first item after them. */
  #header(): void {
    if (this.#machine === undefined) return;
    this.#put(encodeHeader(this.#machine, this.#subsections));
    this.#machine = undefined;
  }

  #put(bytes: Uint8Array): void {
    this.#flush();
    this.#write(bytes);
  }

  #reserve(lengthBytes: number): void {
    if (this.#length + lengthBytes > BUFFER_BYTES) this.#flush();
  }

  #flush(): void {
    if (this.#length === 0) return;
    this.#write(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }
}
