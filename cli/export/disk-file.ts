/** The two forms in which a disk is exported: raw, or a qcow2 image that stands alone. */

import type { Core } from "../../src/core.ts";
import { pageBytes } from "../../src/delta/vocabulary.ts";
import { clusterBytes, Qcow2Writer } from "../../src/disk/qcow2-writer.ts";
import type { OutputFile } from "./output-folder.ts";

/** A form of disk images that are exported. */
export type DiskFormat = "qcow2" | "raw";

/** Takes the blocks of a disk that are not zero, in ascending order. */
export interface BlockTaker {
  /** `count` blocks from `block` stand at `pointer` in the core's memory, during the call. */
  blocks(block: number, count: number, pointer: number): void;
  finish(): void;
}

/** Begins a file for a disk of `lengthBytes`. */
export function diskFile(core: Core, file: OutputFile, format: DiskFormat, lengthBytes: number): BlockTaker {
  return format === "raw" ? new RawDisk(core, file, lengthBytes) : new Qcow2Disk(core, file, lengthBytes);
}

class RawDisk implements BlockTaker {
  private readonly core: Core;
  private readonly file: OutputFile;
  private readonly lengthBytes: number;

  constructor(core: Core, file: OutputFile, lengthBytes: number) {
    this.core = core;
    this.file = file;
    this.lengthBytes = lengthBytes;
    file.setLength(lengthBytes);
  }

  blocks(block: number, count: number, pointer: number): void {
    for (let i = 0; i < count; i++) {
      const from = pointer + i * pageBytes;
      if (this.core.raw.isZero(from, pageBytes)) continue;
      const at = (block + i) * pageBytes;
      const length = Math.min(pageBytes, this.lengthBytes - at);
      this.file.write(this.core.bytes().subarray(from, from + length), at);
    }
  }

  finish(): void {}
}

/** Collects blocks to clusters; clusters of zeroes are left out. */
class Qcow2Disk implements BlockTaker {
  private readonly core: Core;
  private readonly writer: Qcow2Writer;
  private readonly cluster = new Uint8Array(clusterBytes);
  private open = -1;

  constructor(core: Core, file: OutputFile, lengthBytes: number) {
    this.core = core;
    this.writer = new Qcow2Writer(file, lengthBytes);
  }

  blocks(block: number, count: number, pointer: number): void {
    for (let i = 0; i < count; i++) {
      const from = pointer + i * pageBytes;
      if (this.core.raw.isZero(from, pageBytes)) continue;
      const at = (block + i) * pageBytes;
      const cluster = Math.floor(at / clusterBytes);
      if (cluster !== this.open) {
        this.flush();
        this.open = cluster;
      }
      this.cluster.set(this.core.bytes().subarray(from, from + pageBytes), at % clusterBytes);
    }
  }

  finish(): void {
    this.flush();
    this.writer.finish();
  }

  private flush(): void {
    if (this.open < 0) return;
    this.writer.cluster(this.open, this.cluster);
    this.cluster.fill(0);
    this.open = -1;
  }
}
