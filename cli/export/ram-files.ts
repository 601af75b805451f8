/** The two forms in which RAM is exported: a raw file for each region, or a migration stream. */

import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import type { Geometry, PlacedRegion } from "../../src/generation/geometry.ts";
import {
  encodeBlockName,
  encodeHeader,
  encodeRamEnd,
  encodeRamStart,
  encodeVmDescription,
  PAGE_RECORD_MAX_BYTES,
  RAM_SECTION_BEGIN_BYTES,
  RAM_SECTION_END_BYTES,
  writePage,
  writeRamSectionBegin,
  writeRamSectionEnd,
  writeZeroPage,
} from "../../src/qemu-stream/encoder.ts";
import type { OutputFile } from "./output-folder.ts";
import { type PageTaker, windowPages } from "./ram-content.ts";

/** Number of the RAM section in streams that are made here; QEMU takes any. */
const ramSectionId = 2;
/** So much of a region's name goes into the name of its file. */
const maxNameCharacters = 80;

/** Name of the file for a region: QEMU's names have slashes and colons. */
export function rawFileName({ index, name }: PlacedRegion): string {
  return `ram-${index}-${name.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, maxNameCharacters)}.raw`;
}

/** Writes each region to its file; pages of zeroes are left out and read as zero. */
export class RawRam implements PageTaker {
  private readonly core: Core;
  private readonly files: readonly OutputFile[];

  constructor(core: Core, geometry: Geometry, files: readonly OutputFile[]) {
    this.core = core;
    this.files = files;
    for (const { index, lengthBytes } of geometry.regions) files[index].setLength(lengthBytes);
  }

  pages(region: PlacedRegion, first: number, count: number, pointer: number): void {
    const { raw } = this.core;
    const memory = this.core.bytes();
    const isZero = (i: number) => raw.isZero(pointer + i * pageBytes, pageBytes) === 1;
    for (let i = 0; i < count; ) {
      let run = 1;
      if (!isZero(i)) {
        while (i + run < count && !isZero(i + run)) run++;
        const from = pointer + i * pageBytes;
        this.files[region.index].write(
          memory.subarray(from, from + run * pageBytes),
          (first + i) * pageBytes,
        );
      }
      i += run;
    }
  }
}

/**
 * Writes a stream that a QEMU takes with `-incoming`. Zero pages are told too: the QEMU that reads the stream may have
 * put its firmware there.
 */
export class StreamRam implements PageTaker {
  private readonly core: Core;
  private readonly file: OutputFile;
  private readonly names: readonly Uint8Array[];
  private readonly part = new Uint8Array(
    RAM_SECTION_BEGIN_BYTES + windowPages * PAGE_RECORD_MAX_BYTES + RAM_SECTION_END_BYTES,
  );

  constructor(core: Core, geometry: Geometry, machine: string, file: OutputFile) {
    this.core = core;
    this.file = file;
    this.names = geometry.regions.map(({ name }) => encodeBlockName(name));
    const blocks = geometry.regions.map(({ name, lengthBytes }) => ({ id: name, lengthBytes }));
    file.append(encodeHeader(machine));
    file.append(encodeRamStart(ramSectionId, blocks));
  }

  pages(region: PlacedRegion, first: number, count: number, pointer: number): void {
    const { part } = this;
    const memory = this.core.bytes();
    let at = writeRamSectionBegin(part, 0, "part", ramSectionId);
    for (let i = 0; i < count; i++) {
      const from = pointer + i * pageBytes;
      const name = i === 0 ? this.names[region.index] : undefined;
      if (this.core.raw.isZero(from, pageBytes)) at = writeZeroPage(part, at, first + i, name);
      else at = writePage(part, at, first + i, name, memory, from);
    }
    at = writeRamSectionEnd(part, at, ramSectionId);
    this.file.append(part.subarray(0, at));
  }

  /** Ends the stream with the device state. */
  finish(deviceState: Uint8Array): void {
    this.file.append(encodeRamEnd(ramSectionId));
    this.file.append(deviceState);
    this.file.append(encodeVmDescription());
  }
}
