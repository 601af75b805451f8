/** Constants of BLAKE3 (paper, sections 2.2 and 2.3). */

export const IV0: i32 = 0x6a09e667;
export const IV1: i32 = <i32>0xbb67ae85;
export const IV2: i32 = 0x3c6ef372;
export const IV3: i32 = <i32>0xa54ff53a;

/** All eight initial words; the key of an unkeyed hash. */
export const initialWords = memory.data<u32>([
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]);

export const CHUNK_START: u32 = 1;
export const CHUNK_END: u32 = 2;
export const PARENT: u32 = 4;
export const ROOT: u32 = 8;
export const KEYED_HASH: u32 = 16;
