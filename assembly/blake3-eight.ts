/**
 * BLAKE3 on eight inputs at once: two groups of four (`blake3-lanes.ts`) side by side. One group alone waits for its own
 * results most of the time; with two there is always something to do, for about a quarter more speed.
 *
 *   chaining   8 words of group s in lane layout, then 8 of group t    256 bytes
 *   counters   low and high words of group s, then of group t           64 bytes
 *   messages   16 words of group s, then of group t                    512 bytes
 */
import { CHUNK_END, CHUNK_START, IV0, IV1, IV2, IV3 } from "./blake3-constants";
import { BLOCK_BYTES, BLOCKS_PER_CHUNK, messageOrder, ROUNDS, transpose4 } from "./blake3-lanes";
import { rotate7, rotate8, rotate12, rotate16 } from "./blake3-rotate";

const GROUP_MESSAGE_BYTES: usize = 256;

const blockMessages = memory.data(512, 16);

/**
 * Hashes eight whole chunks into `chaining`, which holds the key before: four at `chunks`, `stride` bytes apart, and
 * four `between` bytes after each of these.
 */
export function hashChunks8(
  chunks: usize,
  stride: usize,
  between: usize,
  chaining: usize,
  counters: usize,
  flags: u32,
): void {
  let p = chunks;
  for (let block: u32 = 0; block < BLOCKS_PER_CHUNK; block++) {
    transposeBlocks(p, stride, blockMessages);
    transposeBlocks(p + between, stride, blockMessages + GROUP_MESSAGE_BYTES);
    let blockFlags = flags;
    if (block == 0) blockFlags |= CHUNK_START;
    if (block == BLOCKS_PER_CHUNK - 1) blockFlags |= CHUNK_END;
    compress8(chaining, blockMessages, counters, blockFlags);
    p += BLOCK_BYTES;
  }
}

/** Message words of four blocks, `stride` bytes apart, in lane layout. */
function transposeBlocks(p: usize, stride: usize, out: usize): void {
  const p1 = p + stride;
  const p2 = p1 + stride;
  const p3 = p2 + stride;
  for (let quarter: usize = 0; quarter < BLOCK_BYTES; quarter += 16) {
    transpose4(p + quarter, p1 + quarter, p2 + quarter, p3 + quarter, out + (quarter << 2));
  }
}

/** One compression of eight full blocks, `chaining` in place. */
export function compress8(chaining: usize, messages: usize, counters: usize, flags: u32): void {
  let s0 = v128.load(chaining, 0);
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
  let s12 = v128.load(counters, 0);
  let s13 = v128.load(counters, 16);
  let s14 = i32x4.splat(<i32>BLOCK_BYTES);
  let s15 = i32x4.splat(flags);
  let t0 = v128.load(chaining, 128);
  let t1 = v128.load(chaining, 144);
  let t2 = v128.load(chaining, 160);
  let t3 = v128.load(chaining, 176);
  let t4 = v128.load(chaining, 192);
  let t5 = v128.load(chaining, 208);
  let t6 = v128.load(chaining, 224);
  let t7 = v128.load(chaining, 240);
  let t8 = i32x4.splat(IV0);
  let t9 = i32x4.splat(IV1);
  let t10 = i32x4.splat(IV2);
  let t11 = i32x4.splat(IV3);
  let t12 = v128.load(counters, 32);
  let t13 = v128.load(counters, 48);
  let t14 = i32x4.splat(<i32>BLOCK_BYTES);
  let t15 = i32x4.splat(flags);
  let order = messageOrder;
  for (let round: u32 = 0; round < ROUNDS; round++) {
    // Columns of both groups, then diagonals of both, each as two pairs.
    const m0 = messages + load<u8>(order, 0);
    const m1 = messages + load<u8>(order, 1);
    const m2 = messages + load<u8>(order, 2);
    const m3 = messages + load<u8>(order, 3);
    const m4 = messages + load<u8>(order, 4);
    const m5 = messages + load<u8>(order, 5);
    const m6 = messages + load<u8>(order, 6);
    const m7 = messages + load<u8>(order, 7);
    s0 = i32x4.add(i32x4.add(s0, v128.load(m0)), s4);
    s1 = i32x4.add(i32x4.add(s1, v128.load(m2)), s5);
    s12 = rotate16(v128.xor(s12, s0));
    s13 = rotate16(v128.xor(s13, s1));
    s8 = i32x4.add(s8, s12);
    s9 = i32x4.add(s9, s13);
    s4 = rotate12(v128.xor(s4, s8));
    s5 = rotate12(v128.xor(s5, s9));
    s0 = i32x4.add(i32x4.add(s0, v128.load(m1)), s4);
    s1 = i32x4.add(i32x4.add(s1, v128.load(m3)), s5);
    s12 = rotate8(v128.xor(s12, s0));
    s13 = rotate8(v128.xor(s13, s1));
    s8 = i32x4.add(s8, s12);
    s9 = i32x4.add(s9, s13);
    s4 = rotate7(v128.xor(s4, s8));
    s5 = rotate7(v128.xor(s5, s9));
    s2 = i32x4.add(i32x4.add(s2, v128.load(m4)), s6);
    s3 = i32x4.add(i32x4.add(s3, v128.load(m6)), s7);
    s14 = rotate16(v128.xor(s14, s2));
    s15 = rotate16(v128.xor(s15, s3));
    s10 = i32x4.add(s10, s14);
    s11 = i32x4.add(s11, s15);
    s6 = rotate12(v128.xor(s6, s10));
    s7 = rotate12(v128.xor(s7, s11));
    s2 = i32x4.add(i32x4.add(s2, v128.load(m5)), s6);
    s3 = i32x4.add(i32x4.add(s3, v128.load(m7)), s7);
    s14 = rotate8(v128.xor(s14, s2));
    s15 = rotate8(v128.xor(s15, s3));
    s10 = i32x4.add(s10, s14);
    s11 = i32x4.add(s11, s15);
    s6 = rotate7(v128.xor(s6, s10));
    s7 = rotate7(v128.xor(s7, s11));
    t0 = i32x4.add(i32x4.add(t0, v128.load(m0, 256)), t4);
    t1 = i32x4.add(i32x4.add(t1, v128.load(m2, 256)), t5);
    t12 = rotate16(v128.xor(t12, t0));
    t13 = rotate16(v128.xor(t13, t1));
    t8 = i32x4.add(t8, t12);
    t9 = i32x4.add(t9, t13);
    t4 = rotate12(v128.xor(t4, t8));
    t5 = rotate12(v128.xor(t5, t9));
    t0 = i32x4.add(i32x4.add(t0, v128.load(m1, 256)), t4);
    t1 = i32x4.add(i32x4.add(t1, v128.load(m3, 256)), t5);
    t12 = rotate8(v128.xor(t12, t0));
    t13 = rotate8(v128.xor(t13, t1));
    t8 = i32x4.add(t8, t12);
    t9 = i32x4.add(t9, t13);
    t4 = rotate7(v128.xor(t4, t8));
    t5 = rotate7(v128.xor(t5, t9));
    t2 = i32x4.add(i32x4.add(t2, v128.load(m4, 256)), t6);
    t3 = i32x4.add(i32x4.add(t3, v128.load(m6, 256)), t7);
    t14 = rotate16(v128.xor(t14, t2));
    t15 = rotate16(v128.xor(t15, t3));
    t10 = i32x4.add(t10, t14);
    t11 = i32x4.add(t11, t15);
    t6 = rotate12(v128.xor(t6, t10));
    t7 = rotate12(v128.xor(t7, t11));
    t2 = i32x4.add(i32x4.add(t2, v128.load(m5, 256)), t6);
    t3 = i32x4.add(i32x4.add(t3, v128.load(m7, 256)), t7);
    t14 = rotate8(v128.xor(t14, t2));
    t15 = rotate8(v128.xor(t15, t3));
    t10 = i32x4.add(t10, t14);
    t11 = i32x4.add(t11, t15);
    t6 = rotate7(v128.xor(t6, t10));
    t7 = rotate7(v128.xor(t7, t11));

    const n0 = messages + load<u8>(order, 8);
    const n1 = messages + load<u8>(order, 9);
    const n2 = messages + load<u8>(order, 10);
    const n3 = messages + load<u8>(order, 11);
    const n4 = messages + load<u8>(order, 12);
    const n5 = messages + load<u8>(order, 13);
    const n6 = messages + load<u8>(order, 14);
    const n7 = messages + load<u8>(order, 15);
    s0 = i32x4.add(i32x4.add(s0, v128.load(n0)), s5);
    s1 = i32x4.add(i32x4.add(s1, v128.load(n2)), s6);
    s15 = rotate16(v128.xor(s15, s0));
    s12 = rotate16(v128.xor(s12, s1));
    s10 = i32x4.add(s10, s15);
    s11 = i32x4.add(s11, s12);
    s5 = rotate12(v128.xor(s5, s10));
    s6 = rotate12(v128.xor(s6, s11));
    s0 = i32x4.add(i32x4.add(s0, v128.load(n1)), s5);
    s1 = i32x4.add(i32x4.add(s1, v128.load(n3)), s6);
    s15 = rotate8(v128.xor(s15, s0));
    s12 = rotate8(v128.xor(s12, s1));
    s10 = i32x4.add(s10, s15);
    s11 = i32x4.add(s11, s12);
    s5 = rotate7(v128.xor(s5, s10));
    s6 = rotate7(v128.xor(s6, s11));
    s2 = i32x4.add(i32x4.add(s2, v128.load(n4)), s7);
    s3 = i32x4.add(i32x4.add(s3, v128.load(n6)), s4);
    s13 = rotate16(v128.xor(s13, s2));
    s14 = rotate16(v128.xor(s14, s3));
    s8 = i32x4.add(s8, s13);
    s9 = i32x4.add(s9, s14);
    s7 = rotate12(v128.xor(s7, s8));
    s4 = rotate12(v128.xor(s4, s9));
    s2 = i32x4.add(i32x4.add(s2, v128.load(n5)), s7);
    s3 = i32x4.add(i32x4.add(s3, v128.load(n7)), s4);
    s13 = rotate8(v128.xor(s13, s2));
    s14 = rotate8(v128.xor(s14, s3));
    s8 = i32x4.add(s8, s13);
    s9 = i32x4.add(s9, s14);
    s7 = rotate7(v128.xor(s7, s8));
    s4 = rotate7(v128.xor(s4, s9));
    t0 = i32x4.add(i32x4.add(t0, v128.load(n0, 256)), t5);
    t1 = i32x4.add(i32x4.add(t1, v128.load(n2, 256)), t6);
    t15 = rotate16(v128.xor(t15, t0));
    t12 = rotate16(v128.xor(t12, t1));
    t10 = i32x4.add(t10, t15);
    t11 = i32x4.add(t11, t12);
    t5 = rotate12(v128.xor(t5, t10));
    t6 = rotate12(v128.xor(t6, t11));
    t0 = i32x4.add(i32x4.add(t0, v128.load(n1, 256)), t5);
    t1 = i32x4.add(i32x4.add(t1, v128.load(n3, 256)), t6);
    t15 = rotate8(v128.xor(t15, t0));
    t12 = rotate8(v128.xor(t12, t1));
    t10 = i32x4.add(t10, t15);
    t11 = i32x4.add(t11, t12);
    t5 = rotate7(v128.xor(t5, t10));
    t6 = rotate7(v128.xor(t6, t11));
    t2 = i32x4.add(i32x4.add(t2, v128.load(n4, 256)), t7);
    t3 = i32x4.add(i32x4.add(t3, v128.load(n6, 256)), t4);
    t13 = rotate16(v128.xor(t13, t2));
    t14 = rotate16(v128.xor(t14, t3));
    t8 = i32x4.add(t8, t13);
    t9 = i32x4.add(t9, t14);
    t7 = rotate12(v128.xor(t7, t8));
    t4 = rotate12(v128.xor(t4, t9));
    t2 = i32x4.add(i32x4.add(t2, v128.load(n5, 256)), t7);
    t3 = i32x4.add(i32x4.add(t3, v128.load(n7, 256)), t4);
    t13 = rotate8(v128.xor(t13, t2));
    t14 = rotate8(v128.xor(t14, t3));
    t8 = i32x4.add(t8, t13);
    t9 = i32x4.add(t9, t14);
    t7 = rotate7(v128.xor(t7, t8));
    t4 = rotate7(v128.xor(t4, t9));
    order += 16;
  }
  v128.store(chaining, v128.xor(s0, s8), 0);
  v128.store(chaining, v128.xor(s1, s9), 16);
  v128.store(chaining, v128.xor(s2, s10), 32);
  v128.store(chaining, v128.xor(s3, s11), 48);
  v128.store(chaining, v128.xor(s4, s12), 64);
  v128.store(chaining, v128.xor(s5, s13), 80);
  v128.store(chaining, v128.xor(s6, s14), 96);
  v128.store(chaining, v128.xor(s7, s15), 112);
  v128.store(chaining, v128.xor(t0, t8), 128);
  v128.store(chaining, v128.xor(t1, t9), 144);
  v128.store(chaining, v128.xor(t2, t10), 160);
  v128.store(chaining, v128.xor(t3, t11), 176);
  v128.store(chaining, v128.xor(t4, t12), 192);
  v128.store(chaining, v128.xor(t5, t13), 208);
  v128.store(chaining, v128.xor(t6, t14), 224);
  v128.store(chaining, v128.xor(t7, t15), 240);
}
