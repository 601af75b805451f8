/**
 * From a position in the disk to what a qcow2 image has there. An L1 entry leads to an L2 table of one cluster,
 * whose entry describes a cluster of the disk. Bit 0 is the least significant.
 *
 *     L1 entry          0–8 zero | 9–55 offset of the L2 table, 0: none | 56–62 zero | 63 refcount is one
 *     L2, standard      0 reads as zero | 1–8 zero | 9–55 offset, 0: none | 56–61 zero | 62 = 0 | 63 refcount is one
 *     L2, compressed    0–(x-1) offset | x–61 further sectors of 512 bytes | 62 = 1 | 63 zero     x = 70 - cluster bits
 *     extended L2       a standard or compressed entry, then for its 32 subclusters:
 *                       32 bits "reads as zero", 32 bits "is allocated" (bit i: subcluster i)
 */

import { FormatError } from "../errors.ts";
import { readBe32 } from "../qemu-stream/big-endian.ts";
import type { ByteSource } from "./byte-source.ts";
import type { Qcow2Header } from "./qcow2-header.ts";
import { SliceCache } from "./slice-cache.ts";

const maxSliceBytes = 1 << 16;
const upperHalf = 2 ** 32;
const offsetMask = 0x00ffffff;
const l1ReservedMask = 0x7f000000;
const l2ReservedMask = 0x3f000000;
const compressedFlag = 0x40000000;
const refcountOneFlag = 0x80000000;
const subclusters = 32;
const sectorBytes = 512;

/** What an extent is. */
export type ExtentKind = "data" | "compressed" | "zero" | "absent";

/** Looks positions up. The result of the last lookup stands in the public fields, so that a lookup allocates nothing. */
export class Qcow2Map {
  kind: ExtentKind = "absent";
  /** Bytes of the disk for which the result holds. */
  lengthBytes = 0;
  /** Position in the file: of the extent's first byte, or of a compressed cluster's data. */
  fileAt = 0;
  /** At most so many bytes of the file hold a compressed cluster. */
  fileBytes = 0;

  private readonly header: Qcow2Header;
  private readonly sizeBytes: number;
  private readonly clusterBytes: number;
  private readonly entryBytes: number;
  private readonly sliceBytes: number;
  /** Bytes of the disk that one L2 table describes. */
  private readonly tableSpan: number;
  private readonly cache: SliceCache;
  private currentL1 = -1;
  private currentTable = 0;

  /** Checks all L1 entries. Throws FormatError. */
  constructor(source: ByteSource, header: Qcow2Header) {
    this.header = header;
    this.sizeBytes = source.sizeBytes;
    this.clusterBytes = 2 ** header.clusterBits;
    this.entryBytes = header.extendedL2 ? 16 : 8;
    this.sliceBytes = Math.min(this.clusterBytes, maxSliceBytes);
    this.tableSpan = (this.clusterBytes / this.entryBytes) * this.clusterBytes;
    this.cache = new SliceCache(source, this.sliceBytes);
    this.checkTables();
  }

  /** Looks up `at`; the result holds for 1 to `length` bytes. Throws FormatError. */
  locate(at: number, length: number): void {
    const l1Index = Math.floor(at / this.tableSpan);
    if (l1Index !== this.currentL1) {
      this.currentTable = this.tableAt(l1Index);
      this.currentL1 = l1Index;
    }
    const inTable = at - l1Index * this.tableSpan;
    if (this.currentTable === 0) {
      this.kind = "absent";
      this.lengthBytes = Math.min(length, this.tableSpan - inTable);
      return;
    }
    const cluster = Math.floor(inTable / this.clusterBytes);
    const inCluster = inTable - cluster * this.clusterBytes;
    this.lengthBytes = Math.min(length, this.clusterBytes - inCluster);
    this.decodeEntry(cluster * this.entryBytes, inCluster);
  }

  private decodeEntry(entryAt: number, inCluster: number): void {
    const inSlice = entryAt & (this.sliceBytes - 1);
    const slice = this.cache.slice(this.currentTable + entryAt - inSlice);
    const high = readBe32(slice, inSlice);
    const low = readBe32(slice, inSlice + 4);
    const at = this.currentTable + entryAt;
    if ((high & compressedFlag) !== 0) {
      this.decodeCompressed(high, low, at);
      if (this.header.extendedL2 && (readBe32(slice, inSlice + 8) | readBe32(slice, inSlice + 12)) !== 0) {
        failEntry("a compressed cluster has subclusters", at);
      }
      return;
    }
    const offset = this.standardOffset(high, low, at);
    if (this.header.extendedL2) {
      const zero = readBe32(slice, inSlice + 8);
      const allocated = readBe32(slice, inSlice + 12);
      this.decodeSubclusters(offset, allocated, zero, inCluster, at);
    } else if ((low & 1) !== 0) {
      this.kind = "zero";
    } else {
      this.kind = offset === 0 ? "absent" : "data";
    }
    if (this.kind === "data") {
      this.fileAt = offset + inCluster;
      this.checkInFile(this.fileAt, this.lengthBytes, at);
    }
  }

  private standardOffset(high: number, low: number, at: number): number {
    const isZero = (low & 1) !== 0;
    if (isZero && (this.header.version === 2 || this.header.extendedL2)) {
      failEntry("bit 0 is set, which this kind of image does not have", at);
    }
    if ((high & l2ReservedMask) !== 0 || (low & (this.clusterBytes - 2)) !== 0) {
      failEntry("reserved bits are set, or the offset is not at a cluster's start", at);
    }
    const offset = (high & offsetMask) * upperHalf + ((low & ~1) >>> 0);
    if (offset === 0 && !isZero && (high & refcountOneFlag) !== 0) {
      failEntry("it counts a reference to no cluster", at);
    }
    return offset;
  }

  /** Sets the kind, and shortens the length to the subclusters that share it. */
  private decodeSubclusters(
    offset: number,
    allocated: number,
    zero: number,
    inCluster: number,
    at: number,
  ): void {
    if ((allocated & zero) !== 0) failEntry("a subcluster is both allocated and zero", at);
    if (allocated !== 0 && offset === 0) failEntry("a subcluster is allocated in no cluster", at);
    const bytes = this.clusterBytes / subclusters;
    const first = Math.floor(inCluster / bytes);
    let last = first;
    const kindBits = (i: number) => ((allocated >>> i) & 1) | (((zero >>> i) & 1) << 1);
    const wanted = kindBits(first);
    while (last + 1 < subclusters && kindBits(last + 1) === wanted) last++;
    this.kind = wanted === 0 ? "absent" : wanted === 1 ? "data" : "zero";
    this.lengthBytes = Math.min(this.lengthBytes, (last + 1) * bytes - inCluster);
  }

  private decodeCompressed(high: number, low: number, at: number): void {
    if ((high & refcountOneFlag) !== 0) failEntry("bit 63 of a compressed cluster is set", at);
    const offsetBits = 70 - this.header.clusterBits - 32;
    const offsetHigh = high & (2 ** offsetBits - 1);
    const sectors = (high & (compressedFlag - 1)) >>> offsetBits;
    const offset = offsetHigh * upperHalf + low;
    if (offsetHigh > offsetMask) failEntry("a compressed cluster's offset exceeds 56 bits", at);
    this.checkInFile(offset, 1, at);
    this.kind = "compressed";
    this.fileAt = offset;
    // The last sector need not be there in full.
    const fileBytes = (sectors + 1) * sectorBytes - (low & (sectorBytes - 1));
    this.fileBytes = Math.min(fileBytes, this.sizeBytes - offset);
  }

  /** The position of an L2 table, 0 if there is none. */
  private tableAt(l1Index: number): number {
    const at = this.header.l1Offset + l1Index * 8;
    const inSlice = (l1Index * 8) & (this.sliceBytes - 1);
    const slice = this.cache.slice(at - inSlice);
    const high = readBe32(slice, inSlice);
    const low = readBe32(slice, inSlice + 4);
    if ((high & l1ReservedMask) !== 0 || (low & (this.clusterBytes - 1)) !== 0) {
      throw new FormatError(
        "bad-value",
        "Cannot read L1 entry: reserved bits are set, or the offset is not at a cluster's start",
        at,
      );
    }
    const table = (high & offsetMask) * upperHalf + low;
    if (table !== 0) this.checkInFile(table, this.clusterBytes, at);
    return table;
  }

  /**
   * Each table takes a cluster of the file. An L1 table with more of them than fit is refused, so that the time to
   * walk the disk is bounded by the size of the file, not by what a few bytes claim.
   */
  private checkTables(): void {
    const { l1Entries, l1Offset } = this.header;
    let tables = 0;
    for (let i = 0; i < l1Entries; i++) if (this.tableAt(i) !== 0) tables++;
    const room = Math.floor(this.sizeBytes / this.clusterBytes);
    if (tables > room) {
      throw new FormatError(
        "bad-value",
        `Cannot use L1 table: ${tables} L2 tables do not fit into ${room} clusters`,
        l1Offset,
      );
    }
  }

  private checkInFile(offset: number, length: number, at: number): void {
    if (offset + length > this.sizeBytes) {
      throw new FormatError(
        "truncated",
        `Cannot read table entry: it leads to ${length} bytes at ${offset}, the file ends at ${this.sizeBytes}`,
        at,
      );
    }
  }
}

function failEntry(cause: string, at: number): never {
  throw new FormatError("bad-value", `Cannot read L2 entry: ${cause}`, at);
}
