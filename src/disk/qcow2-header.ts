/**
 * The header of a qcow2 image, versions 2 and 3 (QEMU, docs/interop/qcow2). Integers are big-endian.
 *
 *      0       4         8                     16            20             24          32
 *     +-------+---------+---------------------+-------------+--------------+-----------+
 *     |"QFI\xfb" version| backing name offset | name length | cluster bits | disk size |
 *     +-------+---------+-----------------+---+-------------+--------------+-----------+
 *     | crypt | L1 size | L1 table offset | refcounts, snapshots (not read)            |
 *     +-------+---------+-----------------+--------------------------------------------+ 72: version 2 ends
 *     | incompatible features | compatible | auto-clear | refcount order | header length|
 *     +-----------------------+------------+------------+----------------+-------------+ 104
 *     | compression type, 7 bytes of padding, fields that are not known here           |
 *     +--------------------------------------------------------------------------------+ header length
 *     | extensions: type 4, length 4, data, padding to 8; the last one has type 0      |
 *     | name of the backing file                                                       |
 *     +--------------------------------------------------------------------------------+ first cluster's end
 *
 * Refcounts, internal snapshots and bitmaps do not matter for reading the disk and are not looked at.
 */

import { FormatError } from "../errors.ts";
import { readBe32, readBe64 } from "../qemu-stream/big-endian.ts";
import { type ByteSource, readExactly } from "./byte-source.ts";
import type { BackingReference } from "./disk-image.ts";
import { backingFormat, decodeExtensions } from "./qcow2-extensions.ts";

/** "QFI\xfb". */
export const qcow2Magic = 0x514649fb;

/** Limits that are held before anything is allocated or read. */
export const qcow2Limits = {
  minClusterBits: 9,
  maxClusterBits: 21,
  /** Smallest cluster that has 32 subclusters. */
  minExtendedClusterBits: 14,
  /** Size of a disk: sums of positions stay exact. */
  diskBytes: 2 ** 52,
  /** Entries of the L1 table: 32 MiB, as in QEMU. */
  l1Entries: 1 << 22,
  /** Header, extensions and backing name together. */
  headerAreaBytes: 1 << 16,
  backingNameBytes: 1023,
} as const;

const version2HeaderBytes = 72;
const version3HeaderBytes = 104;
const compressionTypeAt = 104;

/** Bits of the incompatible features. */
const Feature = { dirty: 1, corrupt: 2, externalData: 4, compression: 8, extendedL2: 16 } as const;
const knownFeatures = 31;

/** How compressed clusters are compressed. */
export type Qcow2Compression = "deflate" | "zstd";

/** What reading the disk needs of a header. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly diskBytes: number;
  /** Entries of the L1 table that the disk needs; the table may have more. */
  readonly l1Entries: number;
  readonly l1Offset: number;
  /** L2 entries have 16 bytes and describe 32 subclusters. */
  readonly extendedL2: boolean;
  readonly compression: Qcow2Compression;
  readonly backing: BackingReference | null;
}

/**
 * Reads and checks a header. Throws FormatError; "unsupported" if the image is good but needs what this reader has
 * not: encryption, an external data file, features that are not known.
 */
export function readQcow2Header(source: ByteSource): Qcow2Header {
  const area = new Uint8Array(Math.min(qcow2Limits.headerAreaBytes, source.sizeBytes));
  readExactly(source, area, 0, area.length, 0, "qcow2 header");
  needBytes(area, version2HeaderBytes);
  if (readBe32(area, 0) !== qcow2Magic) fail("bad-magic", "the magic is not that of qcow2", 0);
  const version = readBe32(area, 4);
  if (version !== 2 && version !== 3) fail("bad-version", `version ${version} is neither 2 nor 3`, 4);
  const clusterBits = readBe32(area, 20);
  if (clusterBits < qcow2Limits.minClusterBits || clusterBits > qcow2Limits.maxClusterBits) {
    fail("bad-value", `${clusterBits} cluster bits are not in 9 to 21`, 20);
  }
  const crypt = readBe32(area, 32);
  if (crypt !== 0) fail("unsupported", `the image is encrypted (method ${crypt})`, 32);

  const cluster = area.subarray(0, 2 ** clusterBits);
  const features = version === 2 ? 0 : decodeFeatures(cluster);
  const headerBytes = version === 2 ? version2HeaderBytes : decodeHeaderLength(cluster);
  const extendedL2 = (features & Feature.extendedL2) !== 0;
  if (extendedL2 && clusterBits < qcow2Limits.minExtendedClusterBits) {
    fail("bad-value", `extended L2 entries need at least 14 cluster bits, not ${clusterBits}`, 20);
  }
  return {
    version,
    clusterBits,
    extendedL2,
    compression: decodeCompression(cluster, headerBytes, (features & Feature.compression) !== 0),
    ...decodeL1(cluster, clusterBits, extendedL2, source.sizeBytes),
    backing: decodeBacking(cluster, headerBytes),
  };
}

function decodeFeatures(cluster: Uint8Array): number {
  needBytes(cluster, version3HeaderBytes);
  const low = readBe32(cluster, 76);
  const unknown = (low & ~knownFeatures) >>> 0;
  if (readBe32(cluster, 72) !== 0 || unknown !== 0) {
    const bits = (BigInt(readBe32(cluster, 72)) << 32n) | BigInt(unknown);
    fail("unsupported", `incompatible features 0x${bits.toString(16)} are not known`, 72);
  }
  if ((low & Feature.corrupt) !== 0) fail("bad-value", "it is marked as corrupt", 72);
  if ((low & Feature.externalData) !== 0) fail("unsupported", "it has an external data file", 72);
  return low;
}

function decodeHeaderLength(cluster: Uint8Array): number {
  const length = readBe32(cluster, 100);
  if (length < version3HeaderBytes || length % 8 !== 0) {
    fail("bad-length", `header length ${length} is below ${version3HeaderBytes} or not a multiple of 8`, 100);
  }
  if (length > cluster.length) fail("bad-length", `header length ${length} exceeds ${cluster.length}`, 100);
  return length;
}

/** The field and its feature bit must agree. */
function decodeCompression(cluster: Uint8Array, headerBytes: number, isMarked: boolean): Qcow2Compression {
  const type = headerBytes > compressionTypeAt ? cluster[compressionTypeAt] : 0;
  if ((type !== 0) !== isMarked) {
    fail("bad-value", `compression type ${type} contradicts the features`, compressionTypeAt);
  }
  if (type > 1) fail("unsupported", `compression type ${type} is not known`, compressionTypeAt);
  return type === 0 ? "deflate" : "zstd";
}

function decodeL1(cluster: Uint8Array, clusterBits: number, extendedL2: boolean, sizeBytes: number) {
  const diskBytes = readBe64(cluster, 24);
  if (diskBytes > qcow2Limits.diskBytes) {
    fail("bad-length", `the disk's size exceeds ${qcow2Limits.diskBytes} bytes`, 24);
  }
  const present = readBe32(cluster, 36);
  if (present > qcow2Limits.l1Entries) {
    fail("bad-length", `${present} L1 entries exceed ${qcow2Limits.l1Entries}`, 36);
  }
  const l1Entries = Math.ceil(diskBytes / 2 ** (2 * clusterBits - (extendedL2 ? 4 : 3)));
  if (present < l1Entries) {
    fail("bad-length", `${present} L1 entries are too few for a disk of ${diskBytes} bytes`, 36);
  }
  const l1Offset = readBe64(cluster, 40);
  if (present > 0 && l1Offset % 2 ** clusterBits !== 0) {
    fail("bad-value", `L1 table offset ${l1Offset} is not at a cluster's start`, 40);
  }
  if (present > 0 && l1Offset + present * 8 > sizeBytes) {
    fail("truncated", `the L1 table ends at ${l1Offset + present * 8}, the file at ${sizeBytes}`, 40);
  }
  return { diskBytes, l1Entries, l1Offset };
}

function decodeBacking(cluster: Uint8Array, headerBytes: number): BackingReference | null {
  const offset = readBe64(cluster, 8);
  if (offset === 0) {
    decodeExtensions(cluster, headerBytes, cluster.length);
    return null;
  }
  const length = readBe32(cluster, 16);
  if (length === 0 || length > qcow2Limits.backingNameBytes) {
    fail("bad-length", `a backing name of ${length} bytes is not in 1 to 1023`, 16);
  }
  if (offset < headerBytes || offset + length > cluster.length) {
    fail("bad-value", `backing name offset ${offset} is not between header and end of the first cluster`, 8);
  }
  const { formatName } = decodeExtensions(cluster, headerBytes, offset);
  return { file: decodeName(cluster, offset, length), format: backingFormat(formatName) };
}

function decodeName(cluster: Uint8Array, offset: number, length: number): string {
  try {
    const name = new TextDecoder("utf-8", { fatal: true }).decode(cluster.subarray(offset, offset + length));
    if (!name.includes("\0")) return name;
  } catch {
    // Falls to the one error for names that cannot be used.
  }
  return fail("bad-value", "the backing name is not text", offset);
}

function needBytes(area: Uint8Array, length: number): void {
  if (area.length < length)
    fail("truncated", `${length} bytes needed, ${area.length} are there`, area.length);
}

function fail(code: FormatError["code"], cause: string, offset: number): never {
  throw new FormatError(code, `Cannot open qcow2 image: ${cause}`, offset);
}
