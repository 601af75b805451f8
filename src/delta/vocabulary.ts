/**
 * Vocabulary of the delta format: what crosses the WAN and lies in both stores.
 *
 * A delta is a sequence of frames. Integers are little-endian.
 *
 *      0        4    5     6       8          12              16             20
 *     +--------+----+-----+-------+----------+---------------+--------------+
 *     | "BFF1" |kind|codec|region | sequence | payload bytes | columns bytes|
 *     +--------+----+-----+-------+----------+---------------+--------------+
 *     | plain columns bytes | records | reserved 0 | checksum, 16 bytes     |
 *     +---------------------+---------+------------+------------------------+
 *     20                    24        28           32                       48
 *     | columns (as the codec says) | whole pages (kind pages only)         |
 *
 * With codec zstd the whole payload is one zstd frame: columns, and whole pages after them.
 *
 * The checksum is the first 16 bytes of the unkeyed BLAKE3 of the header, with the checksum
 * field zero, and the payload. `docs/FORMAT.md` has every field.
 */

/** Bytes in a page of RAM and in a block of a disk. */
export const pageBytes = 4096;

/** "BFF1" read as a little-endian integer. */
export const frameMagic = 0x31464642;

/** Bytes of a frame before its payload. */
export const frameHeaderBytes = 48;

/** What a frame holds. Zero is invalid. */
export const FrameKind = { header: 1, pages: 2, device: 3, trailer: 4, digests: 5 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/**
 * How a frame's columns are stored. Zero is invalid. `zstd` takes the whole pages in and is for pages frames only;
 * `based` needs the base's device state and is for device frames on the WAN only.
 */
export const FrameCodec = { stored: 1, lz4: 2, zstd: 3, based: 4 } as const;
export type FrameCodec = (typeof FrameCodec)[keyof typeof FrameCodec];

/** What a record says of its page. Zero is invalid. */
export const RecordKind = {
  /** The page has the base's content again. */
  same: 1,
  /** All 4096 bytes are zero. */
  zero: 2,
  /** The content stands at another page of the base. */
  moved: 3,
  /** New values of the words that differ from the base. */
  delta: 4,
  /** The whole page, LZ4, with the frame's earlier whole pages as dictionary. */
  lz4: 5,
  /** The whole page as it is. */
  raw: 6,
} as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** Names of record kinds by their number, in the order of the numbers. */
export const recordKindNames = ["same", "zero", "moved", "delta", "lz4", "raw"] as const;
/** Name of a record kind. */
export type RecordKindName = (typeof recordKindNames)[number];

/** Number of records of each kind. */
export type RecordCounts = Record<RecordKindName, number>;

/** Counts of nothing. */
export function noRecords(): RecordCounts {
  return { same: 0, zero: 0, moved: 0, delta: 0, lz4: 0, raw: 0 };
}

/** Limits that a decoder holds before it allocates anything. */
export const frameLimits = {
  /** Records in one frame. */
  records: 1024,
  /** Records of kinds lz4 and raw in one frame: their pages fill one LZ4 window of 256 KiB. */
  wholePages: 64,
  /** Columns of a pages frame before compression. */
  columnsBytes: 1 << 20,
  /** Columns of any other frame before compression (a trailer's bitmap for 512 GiB is 16 MiB). */
  otherColumnsBytes: 1 << 25,
  /** Bytes of device state in one frame. */
  deviceChunkBytes: 1 << 18,
  /** Bytes of device state in one generation. */
  deviceBytes: 1 << 26,
} as const;

/** Largest payload of a pages frame: stored columns and raw pages. */
export const maxPagesPayloadBytes = frameLimits.columnsBytes + frameLimits.wholePages * pageBytes;
