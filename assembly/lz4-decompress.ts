/**
 * LZ4 block decompression, exact and bounds-checked. The grammar is in lz4-compress.ts.
 * Nothing is read outside the block or the window, and nothing is written outside the output, whatever the bytes.
 */
import { CODE_BAD_OFFSET, CODE_OVERRUN, CODE_SHORT_OUTPUT, CODE_TRUNCATED } from "./codes";

const MATCH_MIN: usize = 4;

/**
 * For each match distance below 16: 16 indices that repeat the first `distance` bytes, and how far one
 * such store may advance, the largest multiple of the distance up to 16.
 */
const repeatIndices = memory.data<u8>([
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1,
  0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 3, 0, 1, 2, 3,
  0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5,
  0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3,
  4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6,
  7, 8, 9, 10, 11, 12, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8,
  9, 10, 11, 12, 13, 14, 0,
]);
const repeatAdvance = memory.data<u8>([0, 16, 16, 15, 16, 15, 12, 14, 16, 9, 10, 11, 12, 13, 14, 15]);

/** Decompresses one block that stands alone into exactly `dstBytes` bytes. Returns `dstBytes` or a negative code. */
export function lz4Decompress(src: usize, srcBytes: usize, dst: usize, dstBytes: usize): i32 {
  return decompressBlock(src, srcBytes, dst, dst, dstBytes);
}

/**
 * Decompresses one block into window[start, start + bytes); it may refer back to window[0, start).
 * Returns `bytes` or a negative code; window[0, start) is never written.
 */
export function lz4DecompressLinked(
  src: usize,
  srcBytes: usize,
  window: usize,
  start: usize,
  bytes: usize,
): i32 {
  return decompressBlock(src, srcBytes, window, window + start, bytes);
}

/** Copies a match of `length` bytes; 16-byte stores run past its end but not past `limit`. */
function copyMatch(out: usize, distance: usize, length: usize, limit: usize): void {
  const end = out + length;
  if (limit - out >= 16) {
    const last = limit - 16;
    if (distance >= 16) {
      while (out < end && out <= last) {
        v128.store(out, v128.load(out - distance));
        out += 16;
      }
    } else {
      const pattern = i8x16.swizzle(v128.load(out - distance), v128.load(repeatIndices + (distance << 4)));
      const advance = <usize>load<u8>(repeatAdvance + distance);
      while (out < end && out <= last) {
        v128.store(out, pattern);
        out += advance;
      }
    }
  }
  while (out < end) {
    store<u8>(out, load<u8>(out - distance));
    out++;
  }
}

function decompressBlock(src: usize, srcBytes: usize, window: usize, dst: usize, dstBytes: usize): i32 {
  const srcEnd = src + srcBytes;
  const dstEnd = dst + dstBytes;
  let p = src;
  let out = dst;
  while (true) {
    if (p == srcEnd) return CODE_TRUNCATED;
    const token = <usize>load<u8>(p++);
    let literals = token >> 4;
    let length = token & 15;

    // Most sequences: short lengths, far from both ends. The literals, the offset and one more byte are inside the
    // block, and 14 literals and 64 bytes of match inside the output.
    if (literals < 15 && srcEnd - p >= 32 && dstEnd - out >= 80) {
      v128.store(out, v128.load(p));
      out += literals;
      p += literals;
      const offset = <usize>load<u16>(p);
      // A match length's second byte is taken without a branch, which would be taken one time in four.
      const extended = <usize>(length == 15);
      const total = length + MATCH_MIN + (<usize>load<u8>(p, 2) & (0 - extended));
      if (offset >= 16 && offset <= out - window && total <= 64) {
        const match = out - offset;
        v128.store(out, v128.load(match));
        v128.store(out, v128.load(match, 16), 16);
        if (total > 32) {
          v128.store(out, v128.load(match, 32), 32);
          v128.store(out, v128.load(match, 48), 48);
        }
        p += 2 + extended;
        out += total;
        continue;
      }
    } else {
      if (literals == 15) {
        let more: usize;
        do {
          if (p == srcEnd) return CODE_TRUNCATED;
          more = <usize>load<u8>(p++);
          literals += more;
          if (literals > dstBytes) return CODE_OVERRUN;
        } while (more == 255);
      }
      const available = srcEnd - p;
      const room = dstEnd - out;
      if (literals > available) return CODE_TRUNCATED;
      if (literals > room) return CODE_OVERRUN;
      if (available - literals >= 16 && room - literals >= 16) {
        const end = out + literals;
        let from = p;
        while (out < end) {
          v128.store(out, v128.load(from));
          out += 16;
          from += 16;
        }
        out = end;
      } else {
        memory.copy(out, p, literals);
        out += literals;
      }
      p += literals;
      if (p == srcEnd) return out == dstEnd ? <i32>dstBytes : CODE_SHORT_OUTPUT;
      if (srcEnd - p < 2) return CODE_TRUNCATED;
    }

    const distance = <usize>load<u16>(p);
    p += 2;
    if (distance == 0 || distance > out - window) return CODE_BAD_OFFSET;
    if (length < 15 && distance >= 16 && dstEnd - out >= 32) {
      const match = out - distance;
      v128.store(out, v128.load(match));
      v128.store(out, v128.load(match, 16), 16);
      out += length + MATCH_MIN;
      continue;
    }
    if (length == 15) {
      let more: usize;
      do {
        if (p == srcEnd) return CODE_TRUNCATED;
        more = <usize>load<u8>(p++);
        length += more;
        if (length > dstBytes) return CODE_OVERRUN;
      } while (more == 255);
    }
    length += MATCH_MIN;
    if (length > dstEnd - out) return CODE_OVERRUN;
    copyMatch(out, distance, length, dstEnd);
    out += length;
  }
}
