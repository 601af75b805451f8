/**
 * BLAKE3 of any length, plain and keyed, incremental and one-shot (BLAKE3 paper, section 2; reference_impl.rs).
 *
 *   state    0 key:u32{8}   32 chaining:u32{8}   64 block:u8{64}   128 stack:u8{54 * 32}
 *            1856 chunk:u64   1864 blockLength:u32   1868 blocksDone:u32   1872 stackLength:u32   1876 flags:u32
 *
 * `stack` holds one chaining value for each set bit of `chunk`, the number of whole chunks before the current one.
 */
import { CHUNK_END, CHUNK_START, initialWords, KEYED_HASH, PARENT, ROOT } from "./blake3-constants";
import { hashChunks8 } from "./blake3-eight";
import { hashChunks4, spreadKey, transpose4 } from "./blake3-lanes";
import { compressRows } from "./blake3-rows";

const BLOCK_BYTES: u32 = 64;
const CHUNK_BYTES: u32 = 1024;
const OUT_MAX: usize = 64;

const CHAINING: usize = 32;
const BLOCK: usize = 64;
const STACK: usize = 128;
const CHUNK: usize = 1856;
const BLOCK_LENGTH: usize = 1864;
const BLOCKS_DONE: usize = 1868;
const STACK_LENGTH: usize = 1872;
const FLAGS: usize = 1876;
const STATE_BYTES: i32 = 1888;

const oneShotState = memory.data(STATE_BYTES, 16);
/** For eight chunks: two groups of four in lane layout. */
const laneChaining = memory.data(256, 16);
const laneCounters = memory.data(64, 16);
const laneDigests = memory.data(128, 16);
const rootOutput = memory.data(64, 16);
const parentBlock = memory.data(64, 16);

/** Size of a hasher's state in bytes. */
export function blake3StateBytes(): usize {
  return STATE_BYTES;
}

/** Starts a hash in `state`; `key` points to 32 bytes, or is 0 for the plain hash. */
export function blake3Init(state: usize, key: usize): void {
  memory.fill(state, 0, STATE_BYTES);
  memory.copy(state, key == 0 ? initialWords : key, 32);
  memory.copy(state + CHAINING, state, 32);
  store<u32>(state, key == 0 ? 0 : KEYED_HASH, FLAGS);
}

/** Takes the next `bytes` bytes of the input. */
export function blake3Update(state: usize, pointer: usize, bytes: usize): void {
  while (bytes != 0) {
    const done = load<u32>(state, BLOCKS_DONE) * BLOCK_BYTES + load<u32>(state, BLOCK_LENGTH);
    if (done == 0 && bytes > CHUNK_BYTES * 8) {
      updateEightChunks(state, pointer);
      pointer += CHUNK_BYTES * 8;
      bytes -= CHUNK_BYTES * 8;
      continue;
    }
    if (done == 0 && bytes > CHUNK_BYTES * 4) {
      // More input follows, so none of these is the root.
      updateFourChunks(state, pointer);
      pointer += CHUNK_BYTES * 4;
      bytes -= CHUNK_BYTES * 4;
      continue;
    }
    if (done == CHUNK_BYTES) {
      closeChunk(state);
      continue;
    }
    const take = min(<usize>(CHUNK_BYTES - done), bytes);
    updateChunk(state, pointer, <u32>take);
    pointer += take;
    bytes -= take;
  }
}

/** Writes the first `outBytes` (at most 64) bytes of the digest. The state stays as it was, so more may follow. */
export function blake3Final(state: usize, out: usize, outBytes: usize): void {
  const flags = load<u32>(state, FLAGS);
  let chaining = state + CHAINING;
  let block = state + BLOCK;
  let blockLength = load<u32>(state, BLOCK_LENGTH);
  let counter = load<u64>(state, CHUNK);
  let blockFlags = flags | startFlag(state) | CHUNK_END;
  let parents = load<u32>(state, STACK_LENGTH);
  memory.fill(block + blockLength, 0, BLOCK_BYTES - blockLength);
  while (parents != 0) {
    parents--;
    compressRows(chaining, block, blockLength, counter, blockFlags, parentBlock + 32, false);
    memory.copy(parentBlock, state + STACK + ((<usize>parents) << 5), 32);
    chaining = state;
    block = parentBlock;
    blockLength = BLOCK_BYTES;
    counter = 0;
    blockFlags = flags | PARENT;
  }
  compressRows(chaining, block, blockLength, 0, blockFlags | ROOT, rootOutput, true);
  memory.copy(out, rootOutput, min(outBytes, OUT_MAX));
}

/** Digest of `bytes` bytes in one call; `key` as in `blake3Init`, `outBytes` at most 64. */
export function blake3Hash(pointer: usize, bytes: usize, key: usize, out: usize, outBytes: usize): void {
  blake3Init(oneShotState, key);
  blake3Update(oneShotState, pointer, bytes);
  blake3Final(oneShotState, out, outBytes);
}

function startFlag(state: usize): u32 {
  return load<u32>(state, BLOCKS_DONE) == 0 ? CHUNK_START : 0;
}

/** Takes bytes into the current chunk, which has room for them. The last block stays in the buffer: it may end the chunk. */
function updateChunk(state: usize, pointer: usize, bytes: u32): void {
  while (bytes != 0) {
    let length = load<u32>(state, BLOCK_LENGTH);
    if (length == BLOCK_BYTES) {
      compressChunkBlock(state, state + BLOCK);
      store<u32>(state, 0, BLOCK_LENGTH);
      length = 0;
    }
    if (length == 0 && bytes > BLOCK_BYTES) {
      compressChunkBlock(state, pointer);
      pointer += BLOCK_BYTES;
      bytes -= BLOCK_BYTES;
      continue;
    }
    const take = min(BLOCK_BYTES - length, bytes);
    memory.copy(state + BLOCK + length, pointer, take);
    store<u32>(state, length + take, BLOCK_LENGTH);
    pointer += take;
    bytes -= take;
  }
}

function compressChunkBlock(state: usize, block: usize): void {
  const chaining = state + CHAINING;
  const flags = load<u32>(state, FLAGS) | startFlag(state);
  compressRows(chaining, block, BLOCK_BYTES, load<u64>(state, CHUNK), flags, chaining, false);
  store<u32>(state, load<u32>(state, BLOCKS_DONE) + 1, BLOCKS_DONE);
}

/** Ends the current chunk, which is full and not the last one, and starts the next. */
function closeChunk(state: usize): void {
  const chaining = state + CHAINING;
  const flags = load<u32>(state, FLAGS) | startFlag(state) | CHUNK_END;
  compressRows(chaining, state + BLOCK, BLOCK_BYTES, load<u64>(state, CHUNK), flags, chaining, false);
  pushChaining(state, chaining);
  memory.copy(chaining, state, 32);
  store<u32>(state, 0, BLOCK_LENGTH);
  store<u32>(state, 0, BLOCKS_DONE);
}

function updateEightChunks(state: usize, pointer: usize): void {
  const chunk = load<u64>(state, CHUNK);
  for (let lane: usize = 0; lane < 8; lane++) {
    // Four low words, four high words, and the same for the second group.
    const counter = laneCounters + ((lane & 3) << 2) + ((lane >> 2) << 5);
    store<u32>(counter, <u32>(chunk + lane));
    store<u32>(counter, <u32>((chunk + lane) >> 32), 16);
  }
  spreadKey(state, laneChaining);
  spreadKey(state, laneChaining + 128);
  const flags = load<u32>(state, FLAGS);
  hashChunks8(pointer, CHUNK_BYTES, CHUNK_BYTES * 4, laneChaining, laneCounters, flags);
  pushLanes(state, laneChaining);
  pushLanes(state, laneChaining + 128);
}

function updateFourChunks(state: usize, pointer: usize): void {
  const chunk = load<u64>(state, CHUNK);
  const low = i32x4(<i32>chunk, <i32>(chunk + 1), <i32>(chunk + 2), <i32>(chunk + 3));
  const high = i32x4(
    <i32>(chunk >> 32),
    <i32>((chunk + 1) >> 32),
    <i32>((chunk + 2) >> 32),
    <i32>((chunk + 3) >> 32),
  );
  spreadKey(state, laneChaining);
  hashChunks4(pointer, CHUNK_BYTES, laneChaining, low, high, load<u32>(state, FLAGS), 0);
  pushLanes(state, laneChaining);
}

/** Adds the chaining values of four chunks, in lane layout. */
function pushLanes(state: usize, lanes: usize): void {
  unpackLanes(lanes, laneDigests);
  for (let lane: usize = 0; lane < 4; lane++) pushChaining(state, laneDigests + (lane << 5));
}

/** Turns 8 chaining words in lane layout into four 32-byte values. */
export function unpackLanes(lanes: usize, out: usize): void {
  const scratch = rootOutput;
  transpose4(lanes, lanes + 16, lanes + 32, lanes + 48, scratch);
  for (let lane: usize = 0; lane < 4; lane++) {
    v128.store(out + (lane << 5), v128.load(scratch + (lane << 4)));
  }
  transpose4(lanes + 64, lanes + 80, lanes + 96, lanes + 112, scratch);
  for (let lane: usize = 0; lane < 4; lane++) {
    v128.store(out + (lane << 5), v128.load(scratch + (lane << 4)), 16);
  }
}

/** Adds the chaining value of a chunk that is not the last: merges one finished subtree for each trailing zero of the new count. */
function pushChaining(state: usize, value: usize): void {
  const chunks = load<u64>(state, CHUNK) + 1;
  store<u64>(state, chunks, CHUNK);
  let length = load<u32>(state, STACK_LENGTH);
  let top = state + STACK + ((<usize>length) << 5);
  memory.copy(top, value, 32);
  length++;
  let rest = chunks;
  while ((rest & 1) == 0) {
    // The two topmost values lie side by side: they are the parent's block.
    top -= 32;
    compressRows(state, top, BLOCK_BYTES, 0, load<u32>(state, FLAGS) | PARENT, top, false);
    length--;
    rest >>= 1;
  }
  store<u32>(state, length, STACK_LENGTH);
}
