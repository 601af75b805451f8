/** One row of the benchmark for each kernel: what we run, what its C twin is called, and which npm peers do the same. */
import { bitmapBits, blockBytes, type Inputs, pageBytes, windowBytes } from "./inputs.ts";
import { blake3Peers, compressPeers, decompressPeers, type Peer } from "./peers.ts";

/** A kernel. `run` makes one pass over `bytes` bytes and returns what a twin must return too. */
export type Contest = {
  readonly name: string;
  readonly bytes: number;
  readonly run: () => bigint;
  /** Name in `test/bench/native/main.c`. */
  readonly twin: string;
  /** Whether twins may return something else: LZ4's blocks are not the same bytes. */
  readonly differs?: boolean;
  readonly peers: readonly Peer[];
};

const maskBytesMax = 72;
const digestBytes = 16;
/** Pairs of a bitmap's runs that one call lists. */
const runsMax = 1 << 16;

/** All rows, in the order of the table. */
export async function contests(inputs: Inputs): Promise<Contest[]> {
  const { bytes } = inputs;
  const changedBytes = inputs.changed.length * pageBytes;
  const bitmapBytes = bitmapBits / 8;
  const [blake3, compressors, decompressors] = await Promise.all([
    blake3Peers(inputs),
    compressPeers(inputs),
    decompressPeers(inputs),
  ]);
  const row = (
    name: string,
    twin: string,
    size: number,
    run: () => bigint,
    peers: readonly Peer[] = [],
  ): Contest => ({
    name,
    twin,
    bytes: size,
    run,
    peers,
  });
  return [
    row("zero test", "zero_test", bytes, () => zeroTest(inputs)),
    row("compare", "compare", bytes, () => compare(inputs)),
    row("delta encode", "delta_encode", changedBytes, () => deltaEncode(inputs)),
    row("delta apply", "delta_apply", changedBytes, () => deltaApply(inputs)),
    { ...row("LZ4 compress", "lz4_compress", bytes, () => lz4Compress(inputs), compressors), differs: true },
    row("LZ4 decompress", "lz4_decompress", bytes, () => lz4Decompress(inputs), decompressors),
    {
      ...row("LZ4 compress linked pages", "lz4_compress_linked", bytes, () => lz4CompressLinked(inputs)),
      differs: true,
    },
    row("LZ4 decompress linked pages", "lz4_decompress_linked", bytes, () => lz4DecompressLinked(inputs)),
    row("BLAKE3 pages", "blake3_pages", bytes, () => blake3Pages(inputs), blake3.pages),
    row("BLAKE3 stream", "blake3_stream", bytes, () => blake3Stream(inputs), blake3.stream),
    row("bitmap count", "bitmap_count", bitmapBytes, () => bitmapCount(inputs)),
    row("bitmap runs", "bitmap_runs", bitmapBytes, () => bitmapRuns(inputs)),
    row("bitmap or", "bitmap_or", bitmapBytes, () => bitmapOr(inputs)),
  ];
}

function zeroTest({ core: { raw }, after, bytes }: Inputs): bigint {
  let found = 0;
  for (let at = 0; at < bytes; at += pageBytes) found += raw.isZero(after + at, pageBytes);
  return BigInt(found);
}

function compare({ core: { raw }, before, after, bytes, scratch }: Inputs): bigint {
  const pages = bytes / pageBytes;
  return BigInt(pages - raw.pagesDiffer(after, before, pages, scratch));
}

function deltaEncode({ core: { raw }, before, after, changed, scratch }: Inputs): bigint {
  let sum = 0;
  for (const page of changed) {
    const at = page * pageBytes;
    sum += raw.deltaEncode(after + at, before + at, scratch, scratch + maskBytesMax);
  }
  return BigInt(sum);
}

function deltaApply({
  core: { raw },
  changed,
  masks,
  masksBytes,
  literals,
  literalBytes,
  scratch,
}: Inputs): bigint {
  let [sum, mask, literal] = [0, 0, 0];
  for (let i = 0; i < changed.length; i++) {
    const page = scratch + i * pageBytes;
    const used = raw.deltaApply(
      page,
      masks + mask,
      masksBytes - mask,
      literals + literal,
      literalBytes - literal,
    );
    mask += used & 0xff;
    literal += (used >> 8) * 8;
    sum += used;
  }
  return BigInt(sum);
}

function lz4Compress({ core: { raw }, after, bytes, scratch }: Inputs): bigint {
  let total = 0;
  for (let at = 0; at < bytes; at += blockBytes) {
    total += raw.lz4Compress(after + at, blockBytes, scratch + total, 2 * blockBytes);
  }
  return BigInt(total);
}

function lz4Decompress({ core: { raw }, blocks, scratch }: Inputs): bigint {
  let [from, out] = [blocks.pointer, 0];
  for (const length of blocks.lengths) {
    out += raw.lz4Decompress(from, length, scratch + out, blockBytes);
    from += length;
  }
  return BigInt(out);
}

function lz4CompressLinked({ core: { raw }, after, bytes, scratch }: Inputs): bigint {
  let total = 0;
  for (let at = 0; at < bytes; at += pageBytes) {
    const start = at % windowBytes;
    const window = after + at - start;
    total += raw.lz4CompressLinked(window, start, pageBytes, scratch + total, 2 * pageBytes, start === 0);
  }
  return BigInt(total);
}

function lz4DecompressLinked({ core: { raw }, linked, scratch }: Inputs): bigint {
  let [from, out] = [linked.pointer, 0];
  for (const length of linked.lengths) {
    const start = out % windowBytes;
    out += raw.lz4DecompressLinked(from, length, scratch + out - start, start, pageBytes);
    from += length;
  }
  return BigInt(out);
}

/** Exclusive or of the first 8 bytes of all digests, like the twin. */
function blake3Pages({ core, after, bytes, key, scratch }: Inputs): bigint {
  core.raw.pageDigests(after, bytes / pageBytes, key, scratch);
  const words = new BigUint64Array(core.bytes().buffer, scratch, (bytes / pageBytes) * 2);
  let sum = 0n;
  for (let i = 0; i < words.length; i += 2) sum ^= words[i]!;
  return sum;
}

function blake3Stream({ core, after, bytes, key, scratch }: Inputs): bigint {
  core.raw.blake3Hash(after, bytes, key, scratch, digestBytes);
  return new BigUint64Array(core.bytes().buffer, scratch, 1)[0]!;
}

function bitmapCount({ core: { raw }, bitmap }: Inputs): bigint {
  return BigInt(raw.bitmapCount(bitmap, bitmapBits));
}

function bitmapRuns({ core, bitmap, scratch }: Inputs): bigint {
  let runs = 0;
  for (let from = 0; ; ) {
    const count = core.raw.bitmapRuns(bitmap, bitmapBits, from, scratch, runsMax);
    runs += count;
    if (count < runsMax) return BigInt(runs);
    const [first, length] = new Uint32Array(core.bytes().buffer, scratch + (count - 1) * 8, 2);
    from = first! + length!;
  }
}

function bitmapOr({ core: { raw }, after, scratch }: Inputs): bigint {
  raw.bitmapOr(scratch, after, bitmapBits / 8);
  return BigInt(bitmapBits / 8);
}
