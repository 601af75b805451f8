/**
 * What the Linux guest writes into its files, so that host and guest can make the same bytes without a transfer:
 * a pool of pseudo-random bytes, repeated without end, from an offset that the seed gives.
 *
 *     file(KiB, seed) = pool pool pool …  from offset seed × 7919 mod P, KiB × 1024 bytes
 *
 * The pool's length P is a prime: repeats are never aligned alike, so no two blocks within a file are equal, and
 * nothing in it can be compressed. A copy loop is all that the guest needs for it: it runs under TCG.
 */

import { createCipheriv, createHash } from "node:crypto";

/** The largest prime below 1 MiB. */
export const POOL_BYTES = 1048573;
/** How far the offsets of neighbouring seeds are apart. */
export const SEED_STEP_BYTES = 7919;

const POOL_KEY = createHash("sha256").update("bfmig test guest").digest();

/** The pool: AES-256 in counter mode over zeros. */
export function contentPool(): Buffer {
  const cipher = createCipheriv("aes-256-ctr", POOL_KEY, Buffer.alloc(16));
  return cipher.update(Buffer.alloc(POOL_BYTES));
}

/** What the guest's `write NAME KIB SEED` puts into a file. */
export function guestFileContent(kib: number, seed: number): Buffer {
  const offset = (seed * SEED_STEP_BYTES) % POOL_BYTES;
  const pool = contentPool();
  return Buffer.alloc(kib * 1024, Buffer.concat([pool.subarray(offset), pool.subarray(0, offset)]));
}

/** What the guest's `sum NAME` answers for such a file: SHA-256 in hexadecimal. */
export function guestFileSum(kib: number, seed: number): string {
  return createHash("sha256").update(guestFileContent(kib, seed)).digest("hex");
}
