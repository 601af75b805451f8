/**
 * BLAKE3 on one block, with the 4x4 state as four row vectors: columns mix in place, then rows 1 to 3 turn
 * so that the diagonals become columns. For what does not come in fours; about a third of the speed of the lanes.
 */
import { IV0, IV1, IV2, IV3 } from "./blake3-constants";
import { rotate7, rotate8, rotate12, rotate16 } from "./blake3-rotate";

const ROUNDS: u32 = 7;

/**
 * One compression. `chaining` is 8 words, `block` 16 words, `out` 8 words, or 16 with `wide` (the root's
 * 64 bytes of output). `out` may be `chaining`.
 */
export function compressRows(
  chaining: usize,
  block: usize,
  blockLength: u32,
  counter: u64,
  flags: u32,
  out: usize,
  wide: bool,
): void {
  const chaining0 = v128.load(chaining);
  const chaining1 = v128.load(chaining, 16);
  let row0 = chaining0;
  let row1 = chaining1;
  let row2 = i32x4(IV0, IV1, IV2, IV3);
  let row3 = i64x2.splat(counter);
  row3 = i64x2.replace_lane(row3, 1, <u64>blockLength | ((<u64>flags) << 32));

  // Message words of the round in the order of their use: columns (first, second), diagonals (first, second).
  const words0 = v128.load(block);
  const words1 = v128.load(block, 16);
  const words2 = v128.load(block, 32);
  const words3 = v128.load(block, 48);
  let columnFirst = v128.shuffle<i32>(words0, words1, 0, 2, 4, 6);
  let columnSecond = v128.shuffle<i32>(words0, words1, 1, 3, 5, 7);
  let diagonalFirst = v128.shuffle<i32>(words2, words3, 0, 2, 4, 6);
  let diagonalSecond = v128.shuffle<i32>(words2, words3, 1, 3, 5, 7);

  for (let round: u32 = 1; ; round++) {
    row0 = i32x4.add(i32x4.add(row0, row1), columnFirst);
    row3 = rotate16(v128.xor(row3, row0));
    row2 = i32x4.add(row2, row3);
    row1 = rotate12(v128.xor(row1, row2));
    row0 = i32x4.add(i32x4.add(row0, row1), columnSecond);
    row3 = rotate8(v128.xor(row3, row0));
    row2 = i32x4.add(row2, row3);
    row1 = rotate7(v128.xor(row1, row2));

    row1 = v128.shuffle<i32>(row1, row1, 1, 2, 3, 0);
    row2 = v128.shuffle<i32>(row2, row2, 2, 3, 0, 1);
    row3 = v128.shuffle<i32>(row3, row3, 3, 0, 1, 2);

    row0 = i32x4.add(i32x4.add(row0, row1), diagonalFirst);
    row3 = rotate16(v128.xor(row3, row0));
    row2 = i32x4.add(row2, row3);
    row1 = rotate12(v128.xor(row1, row2));
    row0 = i32x4.add(i32x4.add(row0, row1), diagonalSecond);
    row3 = rotate8(v128.xor(row3, row0));
    row2 = i32x4.add(row2, row3);
    row1 = rotate7(v128.xor(row1, row2));

    row1 = v128.shuffle<i32>(row1, row1, 3, 0, 1, 2);
    row2 = v128.shuffle<i32>(row2, row2, 2, 3, 0, 1);
    row3 = v128.shuffle<i32>(row3, row3, 1, 2, 3, 0);

    if (round == ROUNDS) break;
    // The message permutation 2 6 3 10 7 0 4 13 1 11 12 5 9 14 15 8, in terms of the four vectors.
    const c0 = columnFirst;
    const c1 = columnSecond;
    const d0 = diagonalFirst;
    const d1 = diagonalSecond;
    columnFirst = v128.shuffle<i32>(c0, c1, 1, 5, 7, 2);
    columnSecond = v128.shuffle<i32>(v128.shuffle<i32>(c0, d0, 3, 5, 0, 0), d1, 0, 1, 2, 6);
    diagonalFirst = v128.shuffle<i32>(v128.shuffle<i32>(c1, d0, 0, 6, 0, 0), d1, 0, 1, 4, 7);
    diagonalSecond = v128.shuffle<i32>(v128.shuffle<i32>(d1, c1, 1, 6, 0, 0), d0, 0, 1, 7, 4);
  }

  v128.store(out, v128.xor(row0, row2));
  v128.store(out, v128.xor(row1, row3), 16);
  if (wide) {
    v128.store(out, v128.xor(row2, chaining0), 32);
    v128.store(out, v128.xor(row3, chaining1), 48);
  }
}
