/**
 * BLAKE3 on four inputs at once, one in each 32-bit lane of a v128 (BLAKE3 paper, section 5.3).
 * Lane layout: word w of all four inputs is the v128 at byte 16 * w.
 */
import { CHUNK_END, CHUNK_START, IV0, IV1, IV2, IV3 } from "./blake3-constants";
import { rotate7, rotate8, rotate12, rotate16 } from "./blake3-rotate";

export const BLOCK_BYTES: usize = 64;
export const BLOCKS_PER_CHUNK: u32 = 16;
export const ROUNDS: u32 = 7;

/** Order of the message words in each round, as byte offsets in lane layout. */
export const messageOrder = memory.data<u8>([
  0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 32, 96, 48, 160, 112, 0, 64, 208,
  16, 176, 192, 80, 144, 224, 240, 128, 48, 64, 160, 192, 208, 32, 112, 224, 96, 80, 144, 0, 176, 240, 128,
  16, 160, 112, 192, 144, 224, 48, 208, 240, 64, 0, 176, 32, 80, 128, 16, 96, 192, 208, 144, 176, 240, 160,
  224, 128, 112, 32, 80, 48, 0, 16, 96, 64, 144, 224, 176, 80, 128, 192, 240, 16, 208, 48, 0, 160, 32, 96, 64,
  112, 176, 240, 80, 0, 16, 144, 128, 96, 224, 160, 32, 192, 48, 64, 112, 208,
]);

const blockMessages = memory.data(256, 16);

/** Transposes four rows of four words at `p0` to `p3` into four v128 at `out`. */
export function transpose4(p0: usize, p1: usize, p2: usize, p3: usize, out: usize): void {
  const r0 = v128.load(p0);
  const r1 = v128.load(p1);
  const r2 = v128.load(p2);
  const r3 = v128.load(p3);
  const low01 = v128.shuffle<i32>(r0, r1, 0, 4, 1, 5);
  const high01 = v128.shuffle<i32>(r0, r1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(r2, r3, 0, 4, 1, 5);
  const high23 = v128.shuffle<i32>(r2, r3, 2, 6, 3, 7);
  v128.store(out, v128.shuffle<i64>(low01, low23, 0, 2));
  v128.store(out, v128.shuffle<i64>(low01, low23, 1, 3), 16);
  v128.store(out, v128.shuffle<i64>(high01, high23, 0, 2), 32);
  v128.store(out, v128.shuffle<i64>(high01, high23, 1, 3), 48);
}

/** Puts the same 8 words at `key` into all lanes of the 8 chaining words at `chaining`. */
export function spreadKey(key: usize, chaining: usize): void {
  for (let w: usize = 0; w < 8; w++) {
    v128.store(chaining + (w << 4), v128.load32_splat(key + (w << 2)));
  }
}

/**
 * Hashes four whole chunks at `chunks`, `stride` bytes apart, into the chaining words at `chaining` (128
 * bytes, lane layout, holding the key before). `counters` are the low chunk counters; `lastFlags` go on the last block.
 */
export function hashChunks4(
  chunks: usize,
  stride: usize,
  chaining: usize,
  counters: v128,
  countersHigh: v128,
  flags: u32,
  lastFlags: u32,
): void {
  let p0 = chunks;
  let p1 = p0 + stride;
  let p2 = p1 + stride;
  let p3 = p2 + stride;
  for (let block: u32 = 0; block < BLOCKS_PER_CHUNK; block++) {
    for (let quarter: usize = 0; quarter < 64; quarter += 16) {
      transpose4(p0 + quarter, p1 + quarter, p2 + quarter, p3 + quarter, blockMessages + (quarter << 2));
    }
    let blockFlags = flags;
    if (block == 0) blockFlags |= CHUNK_START;
    if (block == BLOCKS_PER_CHUNK - 1) blockFlags |= CHUNK_END | lastFlags;
    compress4(chaining, blockMessages, counters, countersHigh, blockFlags);
    p0 += BLOCK_BYTES;
    p1 += BLOCK_BYTES;
    p2 += BLOCK_BYTES;
    p3 += BLOCK_BYTES;
  }
}

/** One compression of four full blocks: `chaining` (128 bytes) in place, `messages` (256 bytes), both in lane layout. */
export function compress4(
  chaining: usize,
  messages: usize,
  counters: v128,
  countersHigh: v128,
  flags: u32,
): void {
  let s0 = v128.load(chaining);
  let s1 = v128.load(chaining, 16);
  let s2 = v128.load(chaining, 32);
  let s3 = v128.load(chaining, 48);
  let s4 = v128.load(chaining, 64);
  let s5 = v128.load(chaining, 80);
  let s6 = v128.load(chaining, 96);
  let s7 = v128.load(chaining, 112);
  let s8 = i32x4.splat(IV0);
  let s9 = i32x4.splat(IV1);
  let s10 = i32x4.splat(IV2);
  let s11 = i32x4.splat(IV3);
  let s12 = counters;
  let s13 = countersHigh;
  let s14 = i32x4.splat(<i32>BLOCK_BYTES);
  let s15 = i32x4.splat(flags);
  let order = messageOrder;
  for (let round: u32 = 0; round < ROUNDS; round++) {
    // The four columns, then the four diagonals, interleaved so that their chains overlap.
    s0 = i32x4.add(i32x4.add(s0, v128.load(messages + load<u8>(order, 0))), s4);
    s1 = i32x4.add(i32x4.add(s1, v128.load(messages + load<u8>(order, 2))), s5);
    s2 = i32x4.add(i32x4.add(s2, v128.load(messages + load<u8>(order, 4))), s6);
    s3 = i32x4.add(i32x4.add(s3, v128.load(messages + load<u8>(order, 6))), s7);
    s12 = rotate16(v128.xor(s12, s0));
    s13 = rotate16(v128.xor(s13, s1));
    s14 = rotate16(v128.xor(s14, s2));
    s15 = rotate16(v128.xor(s15, s3));
    s8 = i32x4.add(s8, s12);
    s9 = i32x4.add(s9, s13);
    s10 = i32x4.add(s10, s14);
    s11 = i32x4.add(s11, s15);
    s4 = rotate12(v128.xor(s4, s8));
    s5 = rotate12(v128.xor(s5, s9));
    s6 = rotate12(v128.xor(s6, s10));
    s7 = rotate12(v128.xor(s7, s11));
    s0 = i32x4.add(i32x4.add(s0, v128.load(messages + load<u8>(order, 1))), s4);
    s1 = i32x4.add(i32x4.add(s1, v128.load(messages + load<u8>(order, 3))), s5);
    s2 = i32x4.add(i32x4.add(s2, v128.load(messages + load<u8>(order, 5))), s6);
    s3 = i32x4.add(i32x4.add(s3, v128.load(messages + load<u8>(order, 7))), s7);
    s12 = rotate8(v128.xor(s12, s0));
    s13 = rotate8(v128.xor(s13, s1));
    s14 = rotate8(v128.xor(s14, s2));
    s15 = rotate8(v128.xor(s15, s3));
    s8 = i32x4.add(s8, s12);
    s9 = i32x4.add(s9, s13);
    s10 = i32x4.add(s10, s14);
    s11 = i32x4.add(s11, s15);
    s4 = rotate7(v128.xor(s4, s8));
    s5 = rotate7(v128.xor(s5, s9));
    s6 = rotate7(v128.xor(s6, s10));
    s7 = rotate7(v128.xor(s7, s11));

    s0 = i32x4.add(i32x4.add(s0, v128.load(messages + load<u8>(order, 8))), s5);
    s1 = i32x4.add(i32x4.add(s1, v128.load(messages + load<u8>(order, 10))), s6);
    s2 = i32x4.add(i32x4.add(s2, v128.load(messages + load<u8>(order, 12))), s7);
    s3 = i32x4.add(i32x4.add(s3, v128.load(messages + load<u8>(order, 14))), s4);
    s15 = rotate16(v128.xor(s15, s0));
    s12 = rotate16(v128.xor(s12, s1));
    s13 = rotate16(v128.xor(s13, s2));
    s14 = rotate16(v128.xor(s14, s3));
    s10 = i32x4.add(s10, s15);
    s11 = i32x4.add(s11, s12);
    s8 = i32x4.add(s8, s13);
    s9 = i32x4.add(s9, s14);
    s5 = rotate12(v128.xor(s5, s10));
    s6 = rotate12(v128.xor(s6, s11));
    s7 = rotate12(v128.xor(s7, s8));
    s4 = rotate12(v128.xor(s4, s9));
    s0 = i32x4.add(i32x4.add(s0, v128.load(messages + load<u8>(order, 9))), s5);
    s1 = i32x4.add(i32x4.add(s1, v128.load(messages + load<u8>(order, 11))), s6);
    s2 = i32x4.add(i32x4.add(s2, v128.load(messages + load<u8>(order, 13))), s7);
    s3 = i32x4.add(i32x4.add(s3, v128.load(messages + load<u8>(order, 15))), s4);
    s15 = rotate8(v128.xor(s15, s0));
    s12 = rotate8(v128.xor(s12, s1));
    s13 = rotate8(v128.xor(s13, s2));
    s14 = rotate8(v128.xor(s14, s3));
    s10 = i32x4.add(s10, s15);
    s11 = i32x4.add(s11, s12);
    s8 = i32x4.add(s8, s13);
    s9 = i32x4.add(s9, s14);
    s5 = rotate7(v128.xor(s5, s10));
    s6 = rotate7(v128.xor(s6, s11));
    s7 = rotate7(v128.xor(s7, s8));
    s4 = rotate7(v128.xor(s4, s9));
    order += 16;
  }
  v128.store(chaining, v128.xor(s0, s8));
  v128.store(chaining, v128.xor(s1, s9), 16);
  v128.store(chaining, v128.xor(s2, s10), 32);
  v128.store(chaining, v128.xor(s3, s11), 48);
  v128.store(chaining, v128.xor(s4, s12), 64);
  v128.store(chaining, v128.xor(s5, s13), 80);
  v128.store(chaining, v128.xor(s6, s14), 96);
  v128.store(chaining, v128.xor(s7, s15), 112);
}
