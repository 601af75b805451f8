/** BLAKE3 over byte arrays outside the core's memory: copied in through a small staging block. */
import type { CoreMemory } from "./kernels.ts";

const STAGING_BYTES = 64 * 1024;
const KEY_BYTES = 32;
const DIGEST_BYTES_MAX = 64;

/** An incremental BLAKE3 hash. */
export type CoreHasher = {
  /** Takes the next bytes; returns the hasher. */
  update(bytes: Uint8Array): CoreHasher;
  /** Digest of what came so far, 1 to 64 bytes, 32 by default; more may follow. */
  digest(outBytes?: number): Uint8Array<ArrayBuffer>;
  /** Frees the hasher's memory in the core. Using it afterwards throws TypeError. */
  release(): void;
};

/** BLAKE3 of one byte array. Throws RangeError for a key that is not 32 bytes or a bad `outBytes`. */
export function hashBytes(
  core: CoreMemory,
  input: Uint8Array,
  key: Uint8Array | undefined,
  outBytes: number,
): Uint8Array<ArrayBuffer> {
  const hasher = createHasher(core, key, Math.min(STAGING_BYTES, Math.max(input.length, DIGEST_BYTES_MAX)));
  try {
    return hasher.update(input).digest(outBytes);
  } finally {
    hasher.release();
  }
}

/** Starts a hash, keyed if `key` (32 bytes) is given. */
export function createHasher(core: CoreMemory, key?: Uint8Array, stagingBytes = STAGING_BYTES): CoreHasher {
  if (key !== undefined && key.length !== KEY_BYTES) {
    throw new RangeError(`Cannot hash with a key of ${key.length} bytes: it must have ${KEY_BYTES}`);
  }
  const { raw } = core;
  const stateBytes = raw.blake3StateBytes();
  const block = core.allocate(stateBytes + stagingBytes);
  const staging = block + stateBytes;
  let live = true;
  if (key !== undefined) core.bytes().set(key, staging);
  raw.blake3Init(block, key === undefined ? 0 : staging);

  const requireLive = (): void => {
    if (!live) throw new TypeError("Cannot use this hasher: it was released");
  };
  const hasher: CoreHasher = {
    update(bytes) {
      requireLive();
      for (let from = 0; from < bytes.length; from += stagingBytes) {
        const piece = bytes.subarray(from, from + stagingBytes);
        core.bytes().set(piece, staging);
        raw.blake3Update(block, staging, piece.length);
      }
      return hasher;
    },
    digest(outBytes = 32) {
      requireLive();
      if (!Number.isInteger(outBytes) || outBytes < 1 || outBytes > DIGEST_BYTES_MAX) {
        throw new RangeError(`Cannot make a digest of ${outBytes} bytes: it has 1 to ${DIGEST_BYTES_MAX}`);
      }
      raw.blake3Final(block, staging, outBytes);
      return core.bytes().slice(staging, staging + outBytes);
    },
    release() {
      if (live) core.release(block);
      live = false;
    },
  };
  return hasher;
}
