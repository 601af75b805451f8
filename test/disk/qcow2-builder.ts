/** Builds qcow2 images of any shape in memory, and says what each sector of them is: the twin of our reader. */

import { deflateRawSync } from "node:zlib";
import type { RangeKind } from "../../src/disk/disk-image.ts";
import { writeBe32, writeBe64 } from "../../src/qemu-stream/big-endian.ts";
import { noise } from "../core/placing.ts";

export const SECTOR = 512;

/** What a cluster is. `sub` gives the kind of each of 32 subclusters. */
export type ClusterShape =
  | { readonly kind: "absent" | "zero" | "zero-allocated" | "data" | "compressed" }
  | { readonly kind: "sub"; readonly sub: readonly RangeKind[] };

/** An image to build. */
export interface ImageShape {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly extended: boolean;
  readonly diskBytes: number;
  /** One for each cluster of the disk. */
  readonly clusters: readonly ClusterShape[];
  readonly seed: number;
  /** Data clusters lie in the file in descending order. */
  readonly descending?: boolean;
  readonly backing?: { readonly file: string; readonly format?: string };
  /** Extensions of types that nobody knows, by the length of their data. */
  readonly strangeExtensions?: readonly number[];
}

/** An image, its model, and where its tables are. */
export interface BuiltImage {
  readonly bytes: Uint8Array;
  /** Kind of each sector of the disk, the last one perhaps a part. */
  readonly kinds: readonly RangeKind[];
  /** Content of the disk; bytes that are not data are zero. */
  readonly content: Uint8Array;
  readonly l1At: number;
  readonly l2At: readonly number[];
}

export function buildQcow2(shape: ImageShape): BuiltImage {
  const cluster = 2 ** shape.clusterBits;
  const entryBytes = shape.extended ? 16 : 8;
  const perTable = cluster / entryBytes;
  const tables = Math.ceil(shape.clusters.length / perTable);
  const used = Array.from({ length: tables }, (_, table) =>
    shape.clusters.slice(table * perTable, (table + 1) * perTable).some(({ kind }) => kind !== "absent"),
  );
  const l1At = cluster;
  let end = l1At + Math.max(1, Math.ceil((tables * 8) / cluster)) * cluster;
  const take = (length: number) => {
    end += length;
    return end - length;
  };
  const l2At = used.map((isUsed) => (isUsed ? take(cluster) : 0));

  const content = noise(shape.clusters.length * cluster, shape.seed, 7);
  const kinds: RangeKind[] = [];
  const pieces: { at: number; bytes: Uint8Array }[] = [];
  const entries: { high: number; low: number; zero: number; allocated: number }[] = [];
  const indices = shape.clusters.map((_, i) => i);
  for (const i of shape.descending ? indices.reverse() : indices) {
    const part = content.subarray(i * cluster, (i + 1) * cluster);
    const entry = { high: 0, low: 0, zero: 0, allocated: 0 };
    const one = shape.clusters[i];
    const sub = one.kind === "sub" ? one.sub : new Array<RangeKind>(32).fill(kindOfCluster(one.kind));
    const point = (at: number) => {
      entry.high = (Math.floor(at / 2 ** 32) | 0x80000000) >>> 0;
      entry.low = at >>> 0;
    };
    if (one.kind === "compressed") {
      const packed = deflateRawSync(part);
      const at = take(packed.length);
      pieces.push({ at, bytes: packed });
      const sectors = Math.floor((at + packed.length - 1) / SECTOR) - Math.floor(at / SECTOR);
      const word = (1n << 62n) | (BigInt(sectors) << BigInt(70 - shape.clusterBits)) | BigInt(at);
      entry.high = Number(word >> 32n);
      entry.low = Number(word & 0xffffffffn);
    } else if (sub.includes("data") || one.kind === "zero-allocated") {
      end = Math.ceil(end / cluster) * cluster;
      const at = take(cluster);
      point(at);
      pieces.push({ at, bytes: part.slice() });
    }
    if (!shape.extended && one.kind.startsWith("zero")) entry.low = (entry.low | 1) >>> 0;
    if (shape.extended && one.kind !== "compressed") {
      for (const [s, kind] of sub.entries()) {
        if (kind === "data") entry.allocated = (entry.allocated | (1 << s)) >>> 0;
        if (kind === "zero") entry.zero = (entry.zero | (1 << s)) >>> 0;
      }
    }
    entries[i] = entry;
    for (let sector = 0; sector < cluster / SECTOR; sector++) {
      const kind = sub[Math.floor((sector * SECTOR * 32) / cluster)];
      kinds[(i * cluster) / SECTOR + sector] = kind;
      if (kind !== "data") part.fill(0, sector * SECTOR, (sector + 1) * SECTOR);
    }
  }

  const bytes = new Uint8Array(end);
  writeHeader(bytes, shape, l1At, tables);
  for (const [table, at] of l2At.entries()) {
    if (at === 0) continue;
    writeBe64(bytes, l1At + table * 8, at);
    bytes[l1At + table * 8] |= 0x80;
    for (let i = 0; i < perTable && table * perTable + i < entries.length; i++) {
      const { high, low, zero, allocated } = entries[table * perTable + i];
      const next = writeBe32(bytes, writeBe32(bytes, at + i * entryBytes, high), low);
      if (shape.extended) writeBe32(bytes, writeBe32(bytes, next, zero), allocated);
    }
  }
  for (const piece of pieces) bytes.set(piece.bytes, piece.at);
  return {
    bytes,
    kinds: kinds.slice(0, Math.ceil(shape.diskBytes / SECTOR)),
    content: content.slice(0, shape.diskBytes),
    l1At,
    l2At: l2At.filter((at) => at !== 0),
  };
}

function kindOfCluster(kind: Exclude<ClusterShape["kind"], "sub">): RangeKind {
  if (kind === "compressed") return "data";
  return kind === "zero-allocated" ? "zero" : kind;
}

function writeHeader(bytes: Uint8Array, shape: ImageShape, l1At: number, tables: number): void {
  const headerBytes = shape.version === 2 ? 72 : 112;
  writeBe32(bytes, writeBe32(bytes, 0, 0x514649fb), shape.version);
  writeBe64(bytes, writeBe32(bytes, 20, shape.clusterBits), shape.diskBytes);
  writeBe64(bytes, writeBe32(bytes, 36, tables), l1At);
  if (shape.version === 3) {
    writeBe64(bytes, 72, shape.extended ? 16 : 0);
    writeBe32(bytes, writeBe32(bytes, 96, 4), headerBytes);
  }
  let at = headerBytes;
  const extension = (type: number, data: Uint8Array) => {
    bytes.set(data, writeBe32(bytes, writeBe32(bytes, at, type), data.length));
    at += 8 + Math.ceil(data.length / 8) * 8;
  };
  for (const length of shape.strangeExtensions ?? []) extension(0x12345678, noise(length, 1));
  if (shape.backing?.format) extension(0xe2792aca, new TextEncoder().encode(shape.backing.format));
  at = writeBe64(bytes, at, 0);
  if (!shape.backing) return;
  const name = new TextEncoder().encode(shape.backing.file);
  writeBe32(bytes, writeBe64(bytes, 8, at), name.length);
  bytes.set(name, at);
}
