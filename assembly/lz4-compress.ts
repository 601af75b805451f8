/**
 * LZ4 block compression (lz4_Block_format.md), greedy with one hash probe.
 *
 *   sequence   token:u8 literal-length:u8* literal:u8* offset:u16le match-length:u8*
 *   token      high nibble literals, low nibble match bytes - 4; 15 goes on in bytes of 255 and a last one below
 *   block      sequence* and a last sequence that ends after its literals
 *
 * The last 5 bytes are literals and no match starts in the last 12 bytes.
 *
 * Hash tables are never cleared. An entry is `base + position in the window`, and each new window gets a base
 * at least 64 KiB above every entry of the older ones, so old entries fail the distance test that every
 * candidate must pass anyway.
 */

/** 32 KiB a table: 12 bits cost 2 % of the ratio, 14 bits fall out of the first-level cache. */
const HASH_BITS: u64 = 13;
const TABLE_BYTES: i32 = 4 << 13;
const DISTANCE_MAX: u32 = 65535;
const MATCH_MIN: usize = 4;
const LAST_LITERALS: usize = 5;
const MATCH_START_LIMIT: usize = 12;
/** The step between probes grows by one each 64 probes without a match. */
const SKIP_SHIFT: u32 = 6;
const HASH_PRIME: u64 = 889523592379;
const BASE_FIRST: u32 = DISTANCE_MAX + 1;
const BASE_MAX: u32 = 0x40000000;

const blockTable = memory.data(TABLE_BYTES, 16);
const linkedTable = memory.data(TABLE_BYTES, 16);
let blockBase: u32 = BASE_FIRST;
let linkedBase: u32 = BASE_FIRST;
/** One past the highest position of the current linked window. */
let linkedEnd: u32 = 0;

/** Most bytes that a block of `bytes` bytes can compress to. */
export function lz4Bound(bytes: usize): usize {
  return bytes + bytes / 255 + 16;
}

/**
 * Compresses `src` into one block that stands alone. Returns its length, or 0 if it does not fit into
 * `dstCapacity` bytes. Blocks are at most 1 GiB.
 */
export function lz4Compress(src: usize, srcBytes: usize, dst: usize, dstCapacity: usize): i32 {
  if (blockBase > BASE_MAX) {
    memory.fill(blockTable, 0, TABLE_BYTES);
    blockBase = BASE_FIRST;
  }
  const length = compressBlock(src, 0, srcBytes, dst, dstCapacity, blockTable, blockBase);
  blockBase += <u32>srcBytes + BASE_FIRST;
  return length;
}

/**
 * Compresses window[start, start + bytes) into a block of its own that may refer back to window[0, start), at
 * most 64 KiB. `fresh` forgets the window of the calls before. Returns the length or 0 if it does not fit.
 * The receiver must have window[0, start) when it decodes the block: `lz4DecompressLinked`.
 */
export function lz4CompressLinked(
  window: usize,
  start: usize,
  bytes: usize,
  dst: usize,
  dstCapacity: usize,
  fresh: bool,
): i32 {
  if (fresh) {
    linkedBase += linkedEnd + BASE_FIRST;
    linkedEnd = 0;
    if (linkedBase > BASE_MAX) {
      memory.fill(linkedTable, 0, TABLE_BYTES);
      linkedBase = BASE_FIRST;
    }
  }
  linkedEnd = max(linkedEnd, <u32>(start + bytes));
  return compressBlock(window, start, bytes, dst, dstCapacity, linkedTable, linkedBase);
}

/** Offset in the table for the low 5 bytes of `word`. */
function hash(word: u64): usize {
  return (<usize>(((word << 24) * HASH_PRIME) >> (64 - HASH_BITS))) << 2;
}

/** Number of equal bytes at `p` and `match`, up to `limit` for `p`. */
function matchLength(p: usize, match: usize, limit: usize): usize {
  const from = p;
  while (limit - p >= 8) {
    const difference = load<u64>(p) ^ load<u64>(match);
    if (difference != 0) return p - from + (<usize>ctz(difference) >> 3);
    p += 8;
    match += 8;
  }
  while (p < limit && load<u8>(p) == load<u8>(match)) {
    p++;
    match++;
  }
  return p - from;
}

/** Bytes that a length takes after its nibble. */
function lengthBytes(length: usize): usize {
  return (length + 240) / 255;
}

/** Writes the rest of a length that did not fit its nibble. */
function putLength(p: usize, rest: usize): usize {
  while (rest >= 255) {
    store<u8>(p++, 255);
    rest -= 255;
  }
  store<u8>(p++, <u8>rest);
  return p;
}

/** Copies literals in steps of 16 bytes where both ends leave room for a whole last step. */
function putLiterals(out: usize, from: usize, count: usize, outEnd: usize, fromEnd: usize): usize {
  const end = out + count;
  if (outEnd - out < count + 16 || fromEnd - from < count + 16) {
    memory.copy(out, from, count);
    return end;
  }
  do {
    v128.store(out, v128.load(from));
    out += 16;
    from += 16;
  } while (out < end);
  return end;
}

function compressBlock(
  window: usize,
  start: usize,
  bytes: usize,
  dst: usize,
  dstCapacity: usize,
  table: usize,
  base: u32,
): i32 {
  const src = window + start;
  const srcEnd = src + bytes;
  const dstEnd = dst + dstCapacity;
  // Position of pointer p is p - origin.
  const origin = window - base;
  let out = dst;
  let anchor = src;

  if (bytes > MATCH_START_LIMIT) {
    const startLimit = srcEnd - MATCH_START_LIMIT;
    const matchLimit = srcEnd - LAST_LITERALS;
    let p = src;
    let match: usize = 0;
    while (true) {
      // Find a match at or after p.
      let probes: u32 = 1 << SKIP_SHIFT;
      let found = false;
      while (p <= startLimit) {
        const word = load<u64>(p);
        const slot = table + hash(word);
        const position = <u32>(p - origin);
        const distance = position - load<u32>(slot);
        store<u32>(slot, position);
        // Unsigned and zero-safe: an entry at or above this position wraps to a large or zero distance.
        const near = distance - 1 < DISTANCE_MAX;
        // One branch that is rarely taken, instead of two that nobody can predict.
        match = select<usize>(p - distance, p, near);
        if ((<u32>near & <u32>(load<u32>(match) == <u32>word)) != 0) {
          found = true;
          break;
        }
        p += probes++ >> SKIP_SHIFT;
      }
      if (!found) break;

      while (p > anchor && match > window && load<u8>(p - 1) == load<u8>(match - 1)) {
        p--;
        match--;
      }

      const literals = p - anchor;
      const matchRest = matchLength(p + MATCH_MIN, match + MATCH_MIN, matchLimit);
      // Most sequences: few literals, far from both ends. 17 bytes and the match length's fit into the room.
      if (literals < 15 && dstEnd - out >= 32 + (matchRest >> 7) && srcEnd - anchor >= 16) {
        store<u8>(out, <u8>((literals << 4) | min(matchRest, 15)));
        v128.store(out, v128.load(anchor), 1);
        out += literals + 3;
        store<u16>(out - 2, <u16>(p - match));
        if (matchRest >= 15) out = putLength(out, matchRest - 15);
      } else {
        const needed = literals + lengthBytes(literals) + 3 + lengthBytes(matchRest);
        if (needed > dstEnd - out) return 0;

        const token = out++;
        if (literals >= 15) out = putLength(out, literals - 15);
        out = putLiterals(out, anchor, literals, dstEnd, srcEnd);
        store<u16>(out, <u16>(p - match));
        out += 2;
        if (matchRest >= 15) out = putLength(out, matchRest - 15);
        store<u8>(token, <u8>((min(literals, 15) << 4) | min(matchRest, 15)));
      }

      p += MATCH_MIN + matchRest;
      anchor = p;
      if (p > startLimit) break;
      store<u32>(table + hash(load<u64>(p - 2)), <u32>(p - 2 - origin));
    }
  }

  const literals = srcEnd - anchor;
  if (literals + lengthBytes(literals) + 1 > dstEnd - out) return 0;
  store<u8>(out++, <u8>(min(literals, 15) << 4));
  if (literals >= 15) out = putLength(out, literals - 15);
  memory.copy(out, anchor, literals);
  return <i32>(out + literals - dst);
}
