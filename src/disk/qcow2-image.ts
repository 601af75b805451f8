/** A qcow2 image as a disk: neighbouring clusters are joined, compressed ones are expanded. */

import { FormatError } from "../errors.ts";
import { type ByteSource, readExactly } from "./byte-source.ts";
import {
  type BackingReference,
  checkRange,
  type DiskImage,
  type RangeKind,
  type RangeStatus,
} from "./disk-image.ts";
import { type Qcow2Header, readQcow2Header } from "./qcow2-header.ts";
import { type ExtentKind, Qcow2Map } from "./qcow2-map.ts";

/**
 * Expands what a cluster was compressed to, to a new array of at most `maxBytes`. Ignores bytes after the end of
 * the compressed data. May throw anything if the data are damaged or longer.
 */
export type Decompress = (bytes: Uint8Array, maxBytes: number) => Uint8Array;

/** What the platform gives: this part of the program has no decompressor of its own. */
export interface Decompressors {
  /** Raw deflate, without zlib's header. */
  readonly inflateRaw?: Decompress;
  readonly decompressZstd?: Decompress;
}

/** Position of the field in the header. */
const compressionTypeAt = 104;

/**
 * Opens a qcow2 image; the image then closes the source. Throws FormatError if header or L1 table are damaged, or
 * if the image needs what this reader has not; the source is then still open.
 */
export function openQcow2Image(source: ByteSource, decompressors: Decompressors = {}): DiskImage {
  const header = readQcow2Header(source);
  if (header.compression === "zstd" && decompressors.decompressZstd === undefined) {
    throw new FormatError(
      "unsupported",
      "Cannot open qcow2 image: its clusters are compressed with zstd",
      compressionTypeAt,
    );
  }
  return new Qcow2Image(source, header, decompressors);
}

const emptyBytes = new Uint8Array(0);

class Qcow2Image implements DiskImage {
  readonly lengthBytes: number;
  readonly backing: BackingReference | null;
  private readonly source: ByteSource;
  private readonly map: Qcow2Map;
  private readonly clusterBytes: number;
  private readonly decompress: Decompress | undefined;
  private compressed = emptyBytes;
  /** Content of the compressed cluster that was read last: small reads come back to it. */
  private expanded: Uint8Array = emptyBytes;
  private expandedCluster = -1;

  constructor(source: ByteSource, header: Qcow2Header, decompressors: Decompressors) {
    this.source = source;
    this.lengthBytes = header.diskBytes;
    this.backing = header.backing;
    this.clusterBytes = 2 ** header.clusterBits;
    this.map = new Qcow2Map(source, header);
    this.decompress = header.compression === "zstd" ? decompressors.decompressZstd : decompressors.inflateRaw;
  }

  status(at: number, length: number): RangeStatus {
    checkRange(at, length, this.lengthBytes);
    const { map } = this;
    map.locate(at, length);
    const kind = kindOf(map.kind);
    let total = map.lengthBytes;
    while (total < length && this.isOfKind(kind, at + total, length - total)) total += map.lengthBytes;
    return { kind, lengthBytes: total };
  }

  read(memory: Uint8Array, target: number, length: number, at: number): void {
    checkRange(at, length, this.lengthBytes);
    const { map } = this;
    let runAt = 0;
    let runBytes = 0;
    let done = 0;
    // Extents that follow each other in the file as in the disk are read at once.
    const flush = () => {
      if (runBytes === 0) return;
      readExactly(this.source, memory, target + done - runBytes, runBytes, runAt, "cluster");
      runBytes = 0;
    };
    while (done < length) {
      map.locate(at + done, length - done);
      const bytes = map.lengthBytes;
      if (map.kind === "data") {
        if (runBytes > 0 && map.fileAt !== runAt + runBytes) flush();
        if (runBytes === 0) runAt = map.fileAt;
        runBytes += bytes;
      } else if (map.kind === "compressed") {
        flush();
        this.readCompressed(memory, target + done, bytes, at + done);
      } else {
        throw new RangeError(`Cannot read ${bytes} bytes at ${at + done}: they are ${map.kind}, not data`);
      }
      done += bytes;
    }
    flush();
  }

  close(): void {
    this.source.close();
  }

  /** Looks further. Damage there ends the range: whoever asks for that position gets the error. */
  private isOfKind(kind: RangeKind, at: number, length: number): boolean {
    try {
      this.map.locate(at, length);
    } catch {
      return false;
    }
    return kindOf(this.map.kind) === kind;
  }

  /** Copies bytes of the compressed cluster that the map has just found. */
  private readCompressed(memory: Uint8Array, target: number, length: number, at: number): void {
    const cluster = Math.floor(at / this.clusterBytes);
    if (cluster !== this.expandedCluster) {
      this.expanded = this.expand(this.map.fileAt, this.map.fileBytes);
      this.expandedCluster = cluster;
    }
    const from = at - cluster * this.clusterBytes;
    memory.set(this.expanded.subarray(from, from + length), target);
  }

  private expand(fileAt: number, fileBytes: number): Uint8Array {
    if (this.decompress === undefined) {
      throw new FormatError(
        "unsupported",
        "Cannot read compressed cluster: there is no decompressor here",
        fileAt,
      );
    }
    if (this.compressed.length < fileBytes) this.compressed = new Uint8Array(fileBytes);
    readExactly(this.source, this.compressed, 0, fileBytes, fileAt, "compressed cluster");
    const expanded = this.runDecompressor(this.compressed.subarray(0, fileBytes), fileAt);
    if (expanded.length !== this.clusterBytes) {
      throw new FormatError(
        "bad-length",
        `Cannot read compressed cluster: it expands to ${expanded.length} bytes, not ${this.clusterBytes}`,
        fileAt,
      );
    }
    return expanded;
  }

  private runDecompressor(bytes: Uint8Array, fileAt: number): Uint8Array {
    try {
      return this.decompress!(bytes, this.clusterBytes);
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      throw new FormatError("bad-value", `Cannot read compressed cluster: ${cause}`, fileAt);
    }
  }
}

function kindOf(kind: ExtentKind): RangeKind {
  return kind === "compressed" ? "data" : kind;
}
