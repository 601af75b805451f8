/** BLAKE3 written down as the paper says it, with arrays and recursion: slow, and easy to check by eye. */

const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const CHUNK_START = 1;
const CHUNK_END = 2;
const PARENT = 4;
const ROOT = 8;
const KEYED_HASH = 16;

/** What the last compression of a node needs, so that the root can be finished differently. */
type Node = { chaining: number[]; block: Uint8Array; length: number; counter: number; flags: number };

/** BLAKE3 of `input`, keyed if `key` is given; `outBytes` up to 64. */
export function blake3Twin(input: Uint8Array, key?: Uint8Array, outBytes = 32): Uint8Array {
  const words = key === undefined ? IV : wordsOf(key, 8);
  const flags = key === undefined ? 0 : KEYED_HASH;
  const root = nodeOf(input, 0, words, flags);
  const out = compress({ ...root, flags: root.flags | ROOT, counter: 0 });
  return bytesOf(out).slice(0, outBytes);
}

/** The left subtree is the largest power of two of whole chunks that leaves at least one byte to the right. */
function nodeOf(input: Uint8Array, chunk: number, key: number[], flags: number): Node {
  if (input.length <= 1024) return chunkNode(input, chunk, key, flags);
  let leftChunks = 1;
  while (leftChunks * 2 * 1024 < input.length) leftChunks *= 2;
  const left = nodeOf(input.subarray(0, leftChunks * 1024), chunk, key, flags);
  const right = nodeOf(input.subarray(leftChunks * 1024), chunk + leftChunks, key, flags);
  const block = bytesOf([...compress(left).slice(0, 8), ...compress(right).slice(0, 8)]);
  return { chaining: key, block, length: 64, counter: 0, flags: flags | PARENT };
}

function chunkNode(chunk: Uint8Array, counter: number, key: number[], flags: number): Node {
  let chaining = key;
  let at = 0;
  let start = CHUNK_START;
  while (chunk.length - at > 64) {
    const block = chunk.subarray(at, at + 64);
    chaining = compress({ chaining, block, length: 64, counter, flags: flags | start }).slice(0, 8);
    start = 0;
    at += 64;
  }
  const block = new Uint8Array(64);
  block.set(chunk.subarray(at));
  return { chaining, block, length: chunk.length - at, counter, flags: flags | start | CHUNK_END };
}

function compress({ chaining, block, length, counter, flags }: Node): number[] {
  const v = [...chaining, ...IV.slice(0, 4), counter | 0, Math.floor(counter / 2 ** 32), length, flags];
  let m = wordsOf(block, 16);
  const rotate = (x: number, by: number): number => (x >>> by) | (x << (32 - by));
  const mix = (a: number, b: number, c: number, d: number, x: number, y: number): void => {
    v[a] = (v[a]! + v[b]! + x) | 0;
    v[d] = rotate(v[d]! ^ v[a]!, 16);
    v[c] = (v[c]! + v[d]!) | 0;
    v[b] = rotate(v[b]! ^ v[c]!, 12);
    v[a] = (v[a]! + v[b]! + y) | 0;
    v[d] = rotate(v[d]! ^ v[a]!, 8);
    v[c] = (v[c]! + v[d]!) | 0;
    v[b] = rotate(v[b]! ^ v[c]!, 7);
  };
  for (let round = 0; round < 7; round++) {
    mix(0, 4, 8, 12, m[0]!, m[1]!);
    mix(1, 5, 9, 13, m[2]!, m[3]!);
    mix(2, 6, 10, 14, m[4]!, m[5]!);
    mix(3, 7, 11, 15, m[6]!, m[7]!);
    mix(0, 5, 10, 15, m[8]!, m[9]!);
    mix(1, 6, 11, 12, m[10]!, m[11]!);
    mix(2, 7, 8, 13, m[12]!, m[13]!);
    mix(3, 4, 9, 14, m[14]!, m[15]!);
    m = PERMUTATION.map((from) => m[from]!);
  }
  const low = v.slice(0, 8).map((word, i) => word ^ v[i + 8]!);
  const high = v.slice(8).map((word, i) => word ^ chaining[i]!);
  return [...low, ...high];
}

function wordsOf(bytes: Uint8Array, count: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, count * 4);
  return Array.from({ length: count }, (_, i) => view.getInt32(i * 4, true));
}

function bytesOf(words: number[]): Uint8Array {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => {
    view.setInt32(i * 4, word, true);
  });
  return bytes;
}
