/** The zstd decoder of `src/` against libzstd, and against frames that no encoder makes. */

import t from "tap";
import { wasmZstd } from "../../cli/zstd.ts";
import { concatBytes } from "../../src/bytes.ts";
import { FormatError } from "../../src/errors.ts";
import { decompressZstd } from "../../src/zstd/decompress.ts";
import { ZstdBlock, zstdBlocks } from "../../src/zstd/frame-layout.ts";
import { noise } from "../core/placing.ts";
import { readOwnMemoryTwice } from "../core/real-memory.ts";
import { textPage } from "../delta/pages-twin.ts";

const zstd = await wasmZstd();
const words = new TextEncoder().encode("region generation page block frame round leg site ");

/** Contents of many shapes, by what is particular to them. */
const contents: Readonly<Record<string, Uint8Array>> = {
  nothing: new Uint8Array(0),
  "one byte": Uint8Array.of(7),
  zeroes: new Uint8Array(300_000),
  "noise, several blocks of it": noise(300_000, 1),
  "few symbols": noise(200_000, 2, 3),
  "two symbols": noise(9_000, 3, 2),
  "words in random order": concatBytes(
    [...noise(20_000, 4)].map((byte) => words.subarray(byte % 50, (byte % 50) + 3 + (byte >> 5))),
  ),
  "repeats far apart": concatBytes([noise(100_000, 5), new Uint8Array(30_000), noise(100_000, 5)]),
  "long matches": concatBytes([textPage(1), new Uint8Array(140_000).fill(9), textPage(1)]),
};

function frameOf(length: number, blocks: readonly (readonly [head: number, bytes: readonly number[]])[]) {
  const head = [0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0];
  const size = [length & 0xff, (length >> 8) & 0xff, (length >> 16) & 0xff, length >>> 24];
  const body = blocks.flatMap(([word, bytes]) => [word & 0xff, (word >> 8) & 0xff, word >> 16, ...bytes]);
  return Uint8Array.from([...head.slice(0, 5), ...size, ...body]);
}

const lastBlock = (type: number, size: number) => 1 | (type << 1) | (size << 3);

t.test("what libzstd compresses comes back, at every level", async (t) => {
  for (const [what, content] of Object.entries(contents)) {
    for (const level of [1, 2, 3, 5, 7, 9, 12, 16, 19]) {
      const frame = zstd.compress(content, level);
      t.ok(Buffer.from(decompressZstd(frame, content.length)).equals(content), `${what}, level ${level}`);
    }
  }
});

t.test("so does memory of a real process, 256 KiB at a time", async (t) => {
  const { after } = readOwnMemoryTwice(2048);
  let wrong = 0;
  for (let at = 0; at < after.length; at += 262_144) {
    const content = after.subarray(at, at + 262_144);
    const back = decompressZstd(zstd.compress(content, 1 + ((at / 262_144) % 19)), content.length);
    if (!Buffer.from(back).equals(content)) wrong++;
  }
  t.equal(wrong, 0);
});

t.test("all ways to store literals and tables are among those frames", async (t) => {
  const seen = new Set<string>();
  for (const content of Object.values(contents)) {
    for (const level of [1, 3, 9, 19]) {
      const frame = zstd.compress(content, level);
      for (const { type, at } of zstdBlocks(frame, content.length)) {
        seen.add(`block ${type}`);
        if (type === ZstdBlock.compressed) seen.add(`literals ${frame[at] & 3}`);
      }
    }
  }
  for (const wanted of ["block 0", "block 1", "block 2", "literals 0", "literals 2", "literals 3"]) {
    t.ok(seen.has(wanted), wanted);
  }
  // No encoder was seen to make literals of one byte many times.
  const repeated = frameOf(9, [[lastBlock(ZstdBlock.compressed, 3), [(9 << 3) | 1, 65, 0]]]);
  t.equal(new TextDecoder().decode(decompressZstd(repeated, 9)), "AAAAAAAAA");
  t.strictSame(Buffer.from(zstd.decompress(repeated, 9)), Buffer.from("AAAAAAAAA"));
});

t.test("a frame that is cut anywhere is refused", async (t) => {
  const content = concatBytes([words, noise(600, 3, 3), words]);
  const frame = zstd.compress(content, 3);
  let accepted = 0;
  for (let length = 0; length < frame.length; length++) {
    try {
      decompressZstd(frame.subarray(0, length), content.length);
      accepted++;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
  t.equal(accepted, 0);
});

t.test("with a bit flipped it is refused, or says what libzstd says", async (t) => {
  const content = concatBytes([words, noise(900, 3, 3), words, textPage(3)]);
  const differing: string[] = [];
  let refused = 0;
  for (const level of [1, 19]) {
    const frame = zstd.compress(content, level);
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const damaged = frame.slice();
      damaged[bit >> 3] ^= 1 << (bit & 7);
      let ours: Uint8Array;
      try {
        ours = decompressZstd(damaged, content.length);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        refused++;
        continue;
      }
      if (!Buffer.from(zstd.decompress(damaged, content.length)).equals(ours)) differing.push(`bit ${bit}`);
    }
  }
  t.strictSame(differing, []);
  t.ok(refused > 100);
});

t.test("another length than the frame's is refused, whichever is larger", async (t) => {
  const frame = zstd.compress(textPage(1), 3);
  for (const length of [0, 4095, 4097, 1 << 20]) {
    t.throws(() => decompressZstd(frame, length), { code: "bad-length" });
  }
});

t.test("frames in another form are refused by their head", async (t) => {
  const good = frameOf(5, [[lastBlock(ZstdBlock.rle, 5), [9]]]);
  t.strictSame([...decompressZstd(good, 5)], [9, 9, 9, 9, 9]);
  const bad: [what: string, at: number, value: number, code: string][] = [
    ["another magic", 0, 0x29, "bad-magic"],
    ["a window of its own", 4, 0x80, "unsupported"],
    ["a checksum", 4, 0xa4, "unsupported"],
    ["a dictionary", 4, 0xa1, "unsupported"],
    ["a reserved flag", 4, 0xa8, "unsupported"],
    ["an unused flag", 4, 0xb0, "unsupported"],
    ["the reserved type of block", 9, 0x2f, "bad-value"],
    ["no last block", 9, 0x2a, "truncated"],
  ];
  for (const [what, at, value, code] of bad) {
    const frame = good.slice();
    frame[at] = value;
    t.throws(() => decompressZstd(frame, 5), { code }, what);
  }
  t.throws(() => decompressZstd(concatBytes([good, good]), 5), { code: "bad-length" }, "two frames");
  t.throws(() => decompressZstd(new Uint8Array(3), 5), { code: "truncated" });
});

t.test("blocks that would give more than the content are refused before they give it", async (t) => {
  const many = Array.from({ length: 2000 }, (_, i) => [(i === 1999 ? 1 : 0) | 2 | (100 << 3), [0]] as const);
  t.throws(() => decompressZstd(frameOf(1000, many), 1000), { code: "bad-length" }, "RLE blocks");
  t.throws(() => decompressZstd(frameOf(1000, [[lastBlock(ZstdBlock.rle, 1001), [0]]]), 1000), {
    code: "bad-length",
  });
  // A literal of 1 byte, then 65535 + 32512 sequences whose only symbols are the longest match and offset 1.
  const count = [255, 0xff, 0xff];
  const bits = new Array(120_000).fill(0xff);
  const bomb = [0x08, 0x41, ...count, 0x54, 1, 0, 52, ...bits];
  t.throws(() => decompressZstd(frameOf(1 << 20, [[lastBlock(2, bomb.length), bomb]]), 1 << 20), FormatError);
});
