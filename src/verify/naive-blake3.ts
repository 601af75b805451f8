/**
 * BLAKE3 as its paper says it (https://github.com/BLAKE3-team/BLAKE3-specs, section 2): a tree by recursion, one
 * compression at a time. Slow, and easy to check by eye. The WASM core is held against it.
 */

const chunkBytes = 1024;
const blockBytes = 64;
const keyBytes = 32;

const initialWords = Uint32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);
/** How the words of a message stand in the next round. */
const permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const rounds = 7;
const Flag = { chunkStart: 1, chunkEnd: 2, parent: 4, root: 8, keyedHash: 16 } as const;

/** The last compression of a node, before it is known whether the node is the root. */
interface Node {
  readonly chaining: Uint32Array;
  readonly block: Uint8Array;
  readonly length: number;
  readonly counter: number;
  readonly flags: number;
}

/**
 * BLAKE3 of `input`, keyed if `key` (32 bytes) is given; the first `outBytes`, 1 to 64. Throws RangeError for another
 * length of key or output.
 */
export function naiveBlake3(input: Uint8Array, key?: Uint8Array, outBytes = 32): Uint8Array<ArrayBuffer> {
  if (key !== undefined && key.length !== keyBytes) {
    throw new RangeError(`Cannot hash with a key of ${key.length} bytes: it must have ${keyBytes}`);
  }
  if (!Number.isInteger(outBytes) || outBytes < 1 || outBytes > 64) {
    throw new RangeError(`Cannot make a digest of ${outBytes} bytes: it has 1 to 64`);
  }
  const words = key === undefined ? initialWords : wordsOf(key);
  const root = nodeOf(input, 0, words, key === undefined ? 0 : Flag.keyedHash);
  const out = compress({ ...root, flags: root.flags | Flag.root, counter: 0 });
  return bytesOf(out).slice(0, outBytes);
}

/** The left subtree has the largest power of two of whole chunks that leaves at least one byte to the right. */
function nodeOf(input: Uint8Array, firstChunk: number, key: Uint32Array, flags: number): Node {
  if (input.length <= chunkBytes) return chunkNode(input, firstChunk, key, flags);
  let leftChunks = 1;
  while (leftChunks * 2 * chunkBytes < input.length) leftChunks *= 2;
  const left = nodeOf(input.subarray(0, leftChunks * chunkBytes), firstChunk, key, flags);
  const right = nodeOf(input.subarray(leftChunks * chunkBytes), firstChunk + leftChunks, key, flags);
  const block = new Uint8Array(blockBytes);
  block.set(bytesOf(compress(left).subarray(0, 8)));
  block.set(bytesOf(compress(right).subarray(0, 8)), keyBytes);
  return { chaining: key, block, length: blockBytes, counter: 0, flags: flags | Flag.parent };
}

function chunkNode(chunk: Uint8Array, counter: number, key: Uint32Array, flags: number): Node {
  let chaining = key;
  let at = 0;
  let start: number = Flag.chunkStart;
  while (chunk.length - at > blockBytes) {
    const block = chunk.subarray(at, at + blockBytes);
    chaining = compress({ chaining, block, length: blockBytes, counter, flags: flags | start }).subarray(
      0,
      8,
    );
    start = 0;
    at += blockBytes;
  }
  const block = new Uint8Array(blockBytes);
  block.set(chunk.subarray(at));
  return { chaining, block, length: chunk.length - at, counter, flags: flags | start | Flag.chunkEnd };
}

/** The 16 words of output: the first 8 are what goes up the tree. */
function compress({ chaining, block, length, counter, flags }: Node): Uint32Array {
  const v = new Uint32Array(16);
  v.set(chaining);
  v.set(initialWords.subarray(0, 4), 8);
  v.set([counter, Math.floor(counter / 2 ** 32), length, flags], 12);
  let m = wordsOf(block);
  for (let round = 0; round < rounds; round++) {
    mix(v, 0, 4, 8, 12, m[0], m[1]);
    mix(v, 1, 5, 9, 13, m[2], m[3]);
    mix(v, 2, 6, 10, 14, m[4], m[5]);
    mix(v, 3, 7, 11, 15, m[6], m[7]);
    mix(v, 0, 5, 10, 15, m[8], m[9]);
    mix(v, 1, 6, 11, 12, m[10], m[11]);
    mix(v, 2, 7, 8, 13, m[12], m[13]);
    mix(v, 3, 4, 9, 14, m[14], m[15]);
    m = permuted(m);
  }
  for (let i = 0; i < 8; i++) {
    v[i] ^= v[i + 8];
    v[i + 8] ^= chaining[i];
  }
  return v;
}

/** The quarter round over words a, b, c, d of the state with two words of the message. */
function mix(v: Uint32Array, a: number, b: number, c: number, d: number, x: number, y: number): void {
  v[a] = v[a] + v[b] + x;
  v[d] = rotateRight(v[d] ^ v[a], 16);
  v[c] = v[c] + v[d];
  v[b] = rotateRight(v[b] ^ v[c], 12);
  v[a] = v[a] + v[b] + y;
  v[d] = rotateRight(v[d] ^ v[a], 8);
  v[c] = v[c] + v[d];
  v[b] = rotateRight(v[b] ^ v[c], 7);
}

function permuted(message: Uint32Array): Uint32Array {
  const next = new Uint32Array(16);
  for (let i = 0; i < 16; i++) next[i] = message[permutation[i]];
  return next;
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const words = new Uint32Array(bytes.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint32(i * 4, true);
  return words;
}

function bytesOf(words: Uint32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < words.length; i++) view.setUint32(i * 4, words[i], true);
  return bytes;
}
