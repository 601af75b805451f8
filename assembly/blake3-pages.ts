/**
 * Keyed BLAKE3 of pages and of tree nodes, four at a time; digests are the first 16 bytes.
 *
 *   page  = 4 chunks, 2 parents, 1 root             node = 1 chunk of up to 64 child digests
 */

import { blake3Hash, unpackLanes } from "./blake3";
import { KEYED_HASH, PARENT, ROOT } from "./blake3-constants";
import { compress8, hashChunks8 } from "./blake3-eight";
import { compress4, hashChunks4, spreadKey, transpose4 } from "./blake3-lanes";
import { compressRows } from "./blake3-rows";

const PAGE: usize = 4096;
const CHUNK_BYTES: usize = 1024;
const DIGEST_BYTES: usize = 16;
const NODE_CHILDREN: usize = 64;
/** Chaining words of a group of four. */
const LANES_BYTES: usize = 128;

/** Counters of chunks 0 and 1, then of chunks 2 and 3, each of four pages. */
const pairCounters = memory.data<u32>([
  0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 3, 3, 3, 3, 0, 0, 0, 0,
]);
const zeroCounters = memory.data(64, 16);

/** Chaining words of the four chunks of four pages, in lane layout; two neighbours are a parent's message. */
const chunkLanes = memory.data(512, 16);
/** Chaining words of both parents of four pages: the root's message. */
const parentLanes = memory.data(256, 16);
const rootLanes = memory.data(128, 16);
const chunkValues = memory.data(128, 16);
const parentValues = memory.data(64, 16);

/** Writes the digest of the 4096 bytes at `page` under the 32-byte `key`: 16 bytes at `out`. */
export function pageDigest(page: usize, key: usize, out: usize): void {
  spreadKey(key, chunkLanes);
  hashChunks4(page, CHUNK_BYTES, chunkLanes, i32x4(0, 1, 2, 3), i32x4.splat(0), KEYED_HASH, 0);
  unpackLanes(chunkLanes, chunkValues);
  compressRows(key, chunkValues, 64, 0, KEYED_HASH | PARENT, parentValues, false);
  compressRows(key, chunkValues + 64, 64, 0, KEYED_HASH | PARENT, parentValues + 32, false);
  compressRows(key, parentValues, 64, 0, KEYED_HASH | PARENT | ROOT, parentValues, false);
  v128.store(out, v128.load(parentValues));
}

/** Writes the digests of `count` contiguous pages: 16 bytes each at `out`. */
export function pageDigests(pages: usize, count: u32, key: usize, out: usize): void {
  const zero = i32x4.splat(0);
  while (count >= 4) {
    for (let chunk: usize = 0; chunk < 4; chunk += 2) {
      const lanes = chunkLanes + (chunk << 7);
      spreadKey(key, lanes);
      spreadKey(key, lanes + LANES_BYTES);
      const counters = pairCounters + (chunk << 5);
      hashChunks8(pages + chunk * CHUNK_BYTES, PAGE, CHUNK_BYTES, lanes, counters, KEYED_HASH);
    }
    spreadKey(key, parentLanes);
    spreadKey(key, parentLanes + LANES_BYTES);
    compress8(parentLanes, chunkLanes, zeroCounters, KEYED_HASH | PARENT);
    spreadKey(key, rootLanes);
    compress4(rootLanes, parentLanes, zero, zero, KEYED_HASH | PARENT | ROOT);
    transpose4(rootLanes, rootLanes + 16, rootLanes + 32, rootLanes + 48, out);
    pages += PAGE * 4;
    out += DIGEST_BYTES * 4;
    count -= 4;
  }
  while (count != 0) {
    pageDigest(pages, key, out);
    pages += PAGE;
    out += DIGEST_BYTES;
    count--;
  }
}

/**
 * One level of a digest tree: the digest of each group of 64 children (16 bytes each, contiguous; the last
 * group may be shorter), 16 bytes each at `out`. Returns the number of groups. `out` may be `children`.
 */
export function nodeDigests(children: usize, count: u32, key: usize, out: usize): u32 {
  const groups = (count + <u32>NODE_CHILDREN - 1) / <u32>NODE_CHILDREN;
  const zero = i32x4.splat(0);
  let rest = <usize>count;
  while (rest >= NODE_CHILDREN * 4) {
    spreadKey(key, rootLanes);
    hashChunks4(children, CHUNK_BYTES, rootLanes, zero, zero, KEYED_HASH, ROOT);
    transpose4(rootLanes, rootLanes + 16, rootLanes + 32, rootLanes + 48, out);
    children += CHUNK_BYTES * 4;
    out += DIGEST_BYTES * 4;
    rest -= NODE_CHILDREN * 4;
  }
  while (rest != 0) {
    const take = min(rest, NODE_CHILDREN);
    blake3Hash(children, take * DIGEST_BYTES, key, out, DIGEST_BYTES);
    children += take * DIGEST_BYTES;
    out += DIGEST_BYTES;
    rest -= take;
  }
  return groups;
}
