/**
 * What a zstd frame must look like to be used here (RFC 8878, section 3.1.1), found out before anything is decompressed:
 *
 *     u32 magic FD2FB528
 *     u8  descriptor      single segment: the window is the content; no dictionary, no checksum
 *     u8, u16 (+ 256), u32 or u64   length of the content
 *     block*              u24: bit 0 last, bits 1-2 type (raw, RLE, compressed), bits 3-23 size; then its bytes
 *
 * The last block ends with the frame, and no other one is marked last.
 */

import { FormatError } from "../errors.ts";

/** Most bytes that one block decompresses to. */
export const zstdBlockBytes = 128 * 1024;

/** Types of blocks. */
export const ZstdBlock = { raw: 0, rle: 1, compressed: 2 } as const;

const magic = 0xfd2fb528;
const singleSegment = 0x20;
/** Unused, reserved, checksum and dictionary: all must be 0. */
const refusedFlags = 0x1f;
const blockHeaderBytes = 3;

/** One block of a frame. */
export interface ZstdBlockPlace {
  readonly type: number;
  /** Where its bytes begin in the frame. */
  readonly at: number;
  /** Bytes of a raw or compressed block in the frame; of an RLE block those that it decompresses to. */
  readonly size: number;
}

/**
 * Checks that `frame` is one zstd frame as above whose content has `length` bytes, and gives its blocks. Throws
 * FormatError. The caller has checked `length` against its format's maximum.
 */
export function zstdBlocks(frame: Uint8Array, length: number): ZstdBlockPlace[] {
  if (frame.length < 6) throw bad("truncated", "it ends in its header");
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (view.getUint32(0, true) !== magic) throw bad("bad-magic", "it does not begin with FD2FB528");
  const descriptor = frame[4];
  if ((descriptor & singleSegment) === 0) throw bad("unsupported", "its window is not its content", 4);
  if ((descriptor & refusedFlags) !== 0) {
    throw bad("unsupported", "it has a dictionary, a checksum or a reserved flag", 4);
  }
  let at = 5 + (1 << (descriptor >> 6));
  if (frame.length < at) throw bad("truncated", "it ends in its header");
  const said = contentBytes(view, descriptor >> 6);
  if (said !== length) throw bad("bad-length", `its content has ${said} bytes, ${length} expected`, 5);
  const most = Math.min(zstdBlockBytes, length);
  const blocks: ZstdBlockPlace[] = [];
  let known = 0;
  for (let isLast = false; !isLast; ) {
    if (frame.length - at < blockHeaderBytes) throw bad("truncated", "it ends before its last block", at);
    const head = frame[at] | (frame[at + 1] << 8) | (frame[at + 2] << 16);
    const [type, size] = [(head >> 1) & 3, head >> 3];
    isLast = (head & 1) === 1;
    at += blockHeaderBytes;
    if (type > ZstdBlock.compressed) throw bad("bad-value", "a block has the reserved type", at);
    if (size > most) throw bad("bad-length", `a block of ${size} bytes exceeds ${most}`, at);
    if (type !== ZstdBlock.compressed) known += size;
    if (known > length) throw bad("bad-length", "its blocks are longer than its content", at);
    const stored = type === ZstdBlock.rle ? 1 : size;
    if (stored > frame.length - at) throw bad("truncated", "a block is cut", at);
    blocks.push({ type, at, size });
    at += stored;
  }
  if (at !== frame.length) throw bad("bad-length", "bytes follow its last block", at);
  return blocks;
}

function contentBytes(view: DataView, form: number): number {
  if (form === 0) return view.getUint8(5);
  if (form === 1) return view.getUint16(5, true) + 256;
  if (form === 2) return view.getUint32(5, true);
  return Number(view.getBigUint64(5, true));
}

/** The error of a frame that cannot be decompressed. */
export function bad(
  code: "truncated" | "bad-magic" | "bad-length" | "bad-value" | "unsupported",
  cause: string,
  at?: number,
): FormatError {
  return new FormatError(code, `Cannot decompress a zstd frame: ${cause}`, at);
}
