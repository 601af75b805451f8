/**
 * Writes a qcow2 image of version 3 that stands alone, in one pass, clusters in ascending order (QEMU,
 * docs/interop/qcow2). Clusters that are not written read as zero and take no room.
 *
 *     header | L1 table | L2 tables and clusters as they come | refcount blocks | refcount table
 *
 * Every cluster of the file has refcount 1. The header is written last: until then the file is no image.
 */

import { writeBe16, writeBe32, writeBe64 } from "../qemu-stream/big-endian.ts";
import { qcow2Magic } from "./qcow2-header.ts";

const clusterBits = 16;
/** Bytes of a cluster. */
export const clusterBytes = 1 << clusterBits;
const entryBytes = 8;
const entriesPerCluster = clusterBytes / entryBytes;
const refcountsPerBlock = clusterBytes / 2;
const refcountOrder = 4;
const headerBytes = 104;
const diskBytesMax = 2 ** 52;
/** Bit 63 of L1 and L2 entries: the refcount is one. */
const refcountIsOne = 0x80000000;

/** Where the file's bytes go. */
export interface ByteSink {
  /** Writes all of `bytes` at a position of the file, and keeps no reference to them. */
  write(bytes: Uint8Array, at: number): void;
}

/**
 * Writes one image.
 *
 *     const writer = new Qcow2Writer(sink, 2 ** 30);
 *     writer.cluster(5, bytes); // the disk's bytes from 5 * 65536 on
 *     const fileBytes = writer.finish();
 */
export class Qcow2Writer {
  private readonly sink: ByteSink;
  private readonly diskBytes: number;
  private readonly l1: Uint8Array;
  private readonly l2 = new Uint8Array(clusterBytes);
  /** Number of the L2 table that is being filled, and its cluster in the file; -1 before the first. */
  private table = -1;
  private tableCluster = 0;
  private lastCluster = -1;
  private nextCluster: number;

  /** `diskBytes`: size of the disk, 1 to 2^52. Throws RangeError for anything else. */
  constructor(sink: ByteSink, diskBytes: number) {
    if (!Number.isSafeInteger(diskBytes) || diskBytes < 1 || diskBytes > diskBytesMax) {
      throw new RangeError(`Cannot write an image of ${diskBytes} bytes`);
    }
    this.sink = sink;
    this.diskBytes = diskBytes;
    this.l1 = new Uint8Array(Math.ceil(diskBytes / (clusterBytes * entriesPerCluster)) * entryBytes);
    this.nextCluster = 1 + Math.ceil(this.l1.length / clusterBytes);
  }

  /** Writes cluster number `index` of the disk, 65536 bytes. Throws RangeError unless numbers ascend within the disk. */
  cluster(index: number, bytes: Uint8Array): void {
    if (!Number.isSafeInteger(index) || index <= this.lastCluster || index * clusterBytes >= this.diskBytes) {
      throw new RangeError(`Cannot write cluster ${index} after ${this.lastCluster}`);
    }
    if (bytes.length !== clusterBytes)
      throw new RangeError(`Cannot write a cluster of ${bytes.length} bytes`);
    this.lastCluster = index;
    const table = Math.floor(index / entriesPerCluster);
    if (table !== this.table) this.beginTable(table);
    const place = this.nextCluster++;
    writeEntry(this.l2, index % entriesPerCluster, place);
    this.sink.write(bytes, place * clusterBytes);
  }

  /** Writes the tables and the header. Returns the length of the file in bytes. */
  finish(): number {
    this.endTable();
    this.sink.write(this.l1, clusterBytes);
    const used = this.nextCluster;
    let [blocks, tableClusters] = [0, 0];
    for (let total = -1; total !== used + blocks + tableClusters; ) {
      total = used + blocks + tableClusters;
      blocks = Math.ceil(total / refcountsPerBlock);
      tableClusters = Math.ceil((blocks * entryBytes) / clusterBytes);
    }
    const total = used + blocks + tableClusters;
    this.writeRefcounts(used, blocks, tableClusters, total);
    this.writeHeader(used + blocks, tableClusters);
    return total * clusterBytes;
  }

  private beginTable(table: number): void {
    this.endTable();
    this.table = table;
    this.tableCluster = this.nextCluster++;
    writeEntry(this.l1, table, this.tableCluster);
    this.l2.fill(0);
  }

  private endTable(): void {
    if (this.table >= 0) this.sink.write(this.l2, this.tableCluster * clusterBytes);
  }

  private writeRefcounts(first: number, blocks: number, tableClusters: number, total: number): void {
    const table = new Uint8Array(tableClusters * clusterBytes);
    const block = new Uint8Array(clusterBytes);
    for (let i = 0; i < blocks; i++) {
      block.fill(0);
      const counted = Math.min(refcountsPerBlock, total - i * refcountsPerBlock);
      for (let entry = 0; entry < counted; entry++) writeBe16(block, entry * 2, 1);
      this.sink.write(block, (first + i) * clusterBytes);
      writeBe64(table, i * entryBytes, (first + i) * clusterBytes);
    }
    this.sink.write(table, (first + blocks) * clusterBytes);
  }

  private writeHeader(refcountTable: number, refcountTableClusters: number): void {
    const header = new Uint8Array(clusterBytes);
    writeBe32(header, 0, qcow2Magic);
    writeBe32(header, 4, 3);
    writeBe32(header, 20, clusterBits);
    writeBe64(header, 24, this.diskBytes);
    writeBe32(header, 36, this.l1.length / entryBytes);
    writeBe64(header, 40, clusterBytes);
    writeBe64(header, 48, refcountTable * clusterBytes);
    writeBe32(header, 56, refcountTableClusters);
    writeBe32(header, 96, refcountOrder);
    writeBe32(header, 100, headerBytes);
    this.sink.write(header, 0);
  }
}

/** An entry of an L1 or L2 table: the offset of a cluster, and that its refcount is one. */
function writeEntry(table: Uint8Array, index: number, cluster: number): void {
  const offset = cluster * clusterBytes;
  writeBe32(table, index * entryBytes, (Math.floor(offset / 2 ** 32) | refcountIsOne) >>> 0);
  writeBe32(table, index * entryBytes + 4, offset >>> 0);
}
