/**
 * GB/s of each kernel of the WASM core: `npx tsx test/bench/core-bench.ts`. Each figure is the best of several
 * runs. Real pages are the program's own memory (the node binary); changed pages get 1 to 8 new words.
 */
import { readFileSync } from "node:fs";
import { loadCore } from "../../src/core.ts";

const PAGE = 4096;
const PAGES = 16384;
const DATA_BYTES = PAGE * PAGES;
const LZ4_BLOCK = 64 * 1024;
const RUNS = 7;

const core = await loadCore({ initialBytes: 320 * 1024 * 1024 });
const { raw } = core;
const pages = core.allocate(DATA_BYTES);
const base = core.allocate(DATA_BYTES);
const packed = core.allocate(DATA_BYTES + (DATA_BYTES >> 4));
const masks = core.allocate(DATA_BYTES);
const key = core.allocate(32);
const digests = core.allocate(PAGES * 16);
const zero = core.allocate(DATA_BYTES >> 2);

const binary = readFileSync(process.execPath);
for (let from = 0; from < DATA_BYTES; from += binary.length) {
  const piece = binary.subarray(0, DATA_BYTES - from);
  core.bytes().set(piece, pages + from);
  core.bytes().set(piece, base + from);
}
core.bytes().fill(0, zero, zero + (DATA_BYTES >> 2));
core.bytes().fill(7, key, key + 32);

function measure(name: string, bytes: number, run: () => void): void {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < RUNS; i++) {
    const before = performance.now();
    run();
    best = Math.min(best, performance.now() - before);
  }
  console.log(`${name.padEnd(44)} ${(bytes / best / 1e6).toFixed(2).padStart(7)} GB/s`);
}

function eachPage(visit: (page: number) => void): void {
  for (let at = 0; at < DATA_BYTES; at += PAGE) visit(at);
}

measure("isZero, zero pages", DATA_BYTES >> 2, () => {
  for (let at = 0; at < DATA_BYTES >> 2; at += PAGE) raw.isZero(zero + at, PAGE);
});
measure("pagesEqual, equal pages", DATA_BYTES, () => eachPage((at) => raw.pagesEqual(pages + at, base + at)));

// One page in five gets 1 to 8 new words.
let seed = 1;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * below);
};
eachPage((at) => {
  if (random(5) !== 0) return;
  for (let words = 1 + random(8); words > 0; words--) core.bytes()[pages + at + random(PAGE)]! ^= 0x55;
});
measure("pagesEqual, 20 % changed", DATA_BYTES, () =>
  eachPage((at) => raw.pagesEqual(pages + at, base + at)),
);
measure("deltaEncode, 20 % changed", DATA_BYTES, () =>
  eachPage((at) => raw.deltaEncode(pages + at, base + at, masks, packed)),
);
measure("deltaEncode, other page (all words)", DATA_BYTES, () =>
  eachPage((at) => raw.deltaEncode(pages + at, base + ((at + PAGE) % DATA_BYTES), masks, packed)),
);
raw.deltaEncode(pages, base + 5 * PAGE, masks, packed);
measure("deltaApply, all words", DATA_BYTES, () =>
  eachPage(() => raw.deltaApply(zero, masks, 72, packed, PAGE)),
);

const blocks: number[] = [];
measure("lz4Compress, 64 KiB blocks", DATA_BYTES, () => {
  blocks.length = 0;
  let out = packed;
  for (let at = 0; at < DATA_BYTES; at += LZ4_BLOCK) {
    const length = raw.lz4Compress(pages + at, LZ4_BLOCK, out, raw.lz4Bound(LZ4_BLOCK));
    blocks.push(length);
    out += length;
  }
});
const packedBytes = blocks.reduce((sum, length) => sum + length, 0);
measure(`lz4Decompress (ratio ${(DATA_BYTES / packedBytes).toFixed(2)})`, DATA_BYTES, () => {
  let from = packed;
  let at = 0;
  for (const length of blocks) {
    if (raw.lz4Decompress(from, length, base + at, LZ4_BLOCK) !== LZ4_BLOCK) throw new Error("bad block");
    from += length;
    at += LZ4_BLOCK;
  }
});
measure("lz4Compress, 4 KiB pages", DATA_BYTES, () =>
  eachPage((at) => raw.lz4Compress(pages + at, PAGE, packed, 2 * PAGE)),
);
let linkedBytes = 0;
const linked: number[] = [];
measure("lz4CompressLinked, pages of 256 KiB windows", DATA_BYTES, () => {
  let out = packed;
  linked.length = 0;
  for (let at = 0; at < DATA_BYTES; at += PAGE) {
    const start = at % (256 * 1024);
    const length = raw.lz4CompressLinked(pages + at - start, start, PAGE, out, 2 * PAGE, start === 0);
    linked.push(length);
    out += length;
  }
  linkedBytes = out - packed;
});
measure(`lz4DecompressLinked (ratio ${(DATA_BYTES / linkedBytes).toFixed(2)})`, DATA_BYTES, () => {
  let from = packed;
  linked.forEach((length, page) => {
    const start = (page * PAGE) % (256 * 1024);
    const window = base + page * PAGE - start;
    if (raw.lz4DecompressLinked(from, length, window, start, PAGE) !== PAGE) throw new Error("bad block");
    from += length;
  });
});

measure("pageDigest", DATA_BYTES >> 2, () => {
  for (let at = 0; at < DATA_BYTES >> 2; at += PAGE) raw.pageDigest(pages + at, key, digests);
});
measure("pageDigests", DATA_BYTES, () => raw.pageDigests(pages, PAGES, key, digests));
measure("nodeDigests", PAGES * 16, () => raw.nodeDigests(digests, PAGES, key, packed));
measure("blake3Hash, 64 MiB", DATA_BYTES, () => raw.blake3Hash(pages, DATA_BYTES, 0, digests, 32));
measure("bitmapCount", DATA_BYTES, () => raw.bitmapCount(pages, DATA_BYTES * 8 - 1));
measure("bitmapOr", DATA_BYTES, () => raw.bitmapOr(base, pages, DATA_BYTES));
core.bytes().fill(0, packed, packed + (1 << 21));
for (let bit = 0; bit < 1 << 24; bit += 50) raw.bitmapSet(packed, bit);
measure("bitmapNextSet, 2 % of 16 M bits", 1 << 21, () => {
  for (let bit = 0; bit < 1 << 24; bit++) bit = raw.bitmapNextSet(packed, 1 << 24, bit);
});
