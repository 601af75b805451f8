/** Mutation of bytes that knows nothing but integers: for formats without a checksum, and parts of others. */

import { concatBytes } from "../../src/bytes.ts";
import type { Random } from "./random.ts";
import { maxInputBytes } from "./target.ts";

/** Numbers at which lengths and counts go wrong. */
const interesting = [
  0n,
  1n,
  2n,
  7n,
  8n,
  15n,
  16n,
  63n,
  64n,
  127n,
  128n,
  255n,
  256n,
  511n,
  512n,
  1023n,
  1024n,
  4095n,
  4096n,
  4097n,
  32767n,
  32768n,
  65535n,
  65536n,
  (1n << 20n) - 1n,
  1n << 20n,
  1n << 24n,
  (1n << 25n) + 1n,
  (1n << 31n) - 1n,
  1n << 31n,
  (1n << 32n) - 1n,
  1n << 32n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 56n) - 1n,
  1n << 62n,
  1n << 63n,
  (1n << 64n) - 1n,
];

/** What a format adds to plain mutation. */
export interface ByteHints {
  /** Pieces that mean something in the format. */
  readonly tokens?: readonly Uint8Array[];
  /** Where the integers are that say where the rest is: half of the changes go there. */
  readonly hotBytes?: number;
  /** True if integers are big-endian. */
  readonly bigEndian?: boolean;
}

type Change = (bytes: Uint8Array, random: Random, other: Uint8Array, hints: ByteHints) => Uint8Array;

/** Between one and eight changes. */
export function mutateBytes(
  input: Uint8Array,
  other: Uint8Array,
  random: Random,
  hints: ByteHints = {},
): Uint8Array {
  let bytes: Uint8Array = input.slice();
  for (let left = random.few(8); left > 0; left--) {
    bytes = random.pick(changes)(bytes, random, other, hints);
    if (bytes.length > maxInputBytes) bytes = bytes.slice(0, maxInputBytes);
  }
  return bytes;
}

/** Overwrites an integer of 1, 2, 4 or 8 bytes with a number at which things go wrong, or one near what it was. */
export function writeInteresting(
  bytes: Uint8Array,
  at: number,
  width: number,
  random: Random,
  big: boolean,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = !big;
  const mask = (1n << BigInt(8 * width)) - 1n;
  const before =
    width === 8
      ? view.getBigUint64(at, little)
      : BigInt(width === 4 ? view.getUint32(at, little) : bytes[at]);
  const near = before + BigInt(random.below(17) - 8);
  const value =
    (random.oneIn(3) ? near : random.oneIn(8) ? mask - random.pick(interesting) : random.pick(interesting)) &
    mask;
  if (width === 8) view.setBigUint64(at, value, little);
  else if (width === 4) view.setUint32(at, Number(value), little);
  else if (width === 2) view.setUint16(at, Number(value), little);
  else bytes[at] = Number(value);
}

const changes: readonly Change[] = [
  (bytes, random, _other, hints) => {
    if (bytes.length > 0) bytes[place(bytes, random, hints)] ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, random, _other, hints) => {
    if (bytes.length > 0) bytes[place(bytes, random, hints)] = random.next() & 0xff;
    return bytes;
  },
  integer,
  integer,
  integer,
  // Truncation.
  (bytes, random) => bytes.slice(0, random.below(bytes.length)),
  // A piece drops out.
  (bytes, random) => {
    const { from, to } = piece(bytes, random);
    return concatBytes([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  // A piece comes twice.
  (bytes, random) => {
    const { from, to } = piece(bytes, random);
    return concatBytes([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  // A piece stands over another place.
  (bytes, random) => {
    const { from, to } = piece(bytes, random);
    bytes.copyWithin(random.below(bytes.length - (to - from)), from, to);
    return bytes;
  },
  // Two inputs are joined.
  (bytes, random, other) =>
    concatBytes([
      bytes.subarray(0, random.below(bytes.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ]),
  // A piece of another input stands in between.
  (bytes, random, other) => {
    const { from, to } = piece(other, random);
    return insert(bytes, random.below(bytes.length + 1), other.subarray(from, to));
  },
  (bytes, random, _other, hints) => {
    const token = hints.tokens?.length ? random.pick(hints.tokens) : random.bytes(1 + random.below(8));
    const at = random.below(bytes.length + 1);
    if (random.oneIn(2) && at + token.length <= bytes.length) {
      bytes.set(token, at);
      return bytes;
    }
    return insert(bytes, at, token);
  },
  (bytes, random) => {
    const { from, to } = piece(bytes, random);
    return bytes.fill(random.pick([0, 0xff, 0x20, 0x7f]), from, to);
  },
];

function integer(bytes: Uint8Array, random: Random, _other: Uint8Array, hints: ByteHints): Uint8Array {
  const width = random.pick([1, 2, 4, 8]);
  if (bytes.length < width) return bytes;
  let at = Math.min(place(bytes, random, hints), bytes.length - width);
  if (random.oneIn(2)) at -= at % width;
  writeInteresting(bytes, at, width, random, hints.bigEndian === true);
  return bytes;
}

function place(bytes: Uint8Array, random: Random, { hotBytes }: ByteHints): number {
  const limit = hotBytes !== undefined && random.oneIn(2) ? Math.min(hotBytes, bytes.length) : bytes.length;
  return random.below(limit);
}

function piece(bytes: Uint8Array, random: Random): { from: number; to: number } {
  const from = random.below(bytes.length);
  const longest = random.oneIn(4) ? bytes.length : 32;
  return { from, to: Math.min(bytes.length, from + 1 + random.below(longest)) };
}

function insert(bytes: Uint8Array, at: number, added: Uint8Array): Uint8Array {
  return concatBytes([bytes.subarray(0, at), added, bytes.subarray(at)]);
}
