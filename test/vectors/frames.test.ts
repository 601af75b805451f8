/** The vectors of `frames.md`: our decoders accept the bytes, two ways, and our encoders give them. */

import t from "tap";
import { wasmZstd } from "../../cli/zstd.ts";
import { concatBytes } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { encodeBlockDigestFrames, encodeDigestFrames } from "../../src/delta/digest-frames.ts";
import { decodeFrameHeader } from "../../src/delta/frame.ts";
import { encodeDeltaHeader, encodeDeltaTrailer } from "../../src/delta/header-frame.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import { FrameCodec, frameHeaderBytes } from "../../src/delta/vocabulary.ts";
import { naiveColumns } from "../../src/verify/naive-apply.ts";
import { basePage, decoderOf, describeFrame, describeNaively } from "./describe-frame.ts";
import { bytesOf, noise, vectorsIn } from "./notation.ts";

const core = await loadCore({ initialBytes: 48 << 20 });
const decoder = decoderOf(core);
const encoder = new PageEncoder(core);
const zstd = await wasmZstd();
const zstdEncoder = new PageEncoder(core, () => (plain) => zstd.compress(plain, 3));
const [contentAt, baseAt] = [core.allocate(4096), core.allocate(4096)];
const root = "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabbccddeeff";

function content(page: number, bytes: Uint8Array, base?: Uint8Array, by = encoder): void {
  core.bytes().set(bytes, contentAt);
  if (base) core.bytes().set(base, baseAt);
  by.content(page, contentAt, base ? baseAt : 0);
}

function withWord(bytes: Uint8Array, word: number, text: string): Uint8Array {
  const changed = bytes.slice();
  changed.set(new TextEncoder().encode(text), word * 8);
  return changed;
}

const seal = (region: number, sequence: number) => encoder.seal(region, sequence) as Uint8Array;
const digest = (value: number) => new Uint8Array(16).fill(value);

/** How our encoders make the frames. */
const encoders: Readonly<Record<string, () => Uint8Array>> = {
  "A header": () =>
    encodeDeltaHeader(core, { vm: "web1", generation: 2, base: { generation: 1, root }, totalPages: 80 }, 1),
  "A record of each kind that needs no LZ4": () => {
    encoder.same(2);
    encoder.zero(3);
    content(1, withWord(basePage(1), 9, "changed!"), basePage(1));
    return seal(0, 2);
  },
  "A page that is moved within the base": () => {
    encoder.moved(4, 65);
    return seal(0, 3);
  },
  "A whole page that does not compress": () => {
    content(5, noise(1));
    return seal(0, 4);
  },
  "Pages that come in descending order, and one that comes twice": () => {
    encoder.zero(9);
    encoder.zero(3);
    encoder.same(9);
    return seal(1, 5);
  },
  "Words of the first and the last group": () => {
    const page = [0, 1, 2, 3, 4, 5, 6, 7, 511].reduce(
      (page, word) => withWord(page, word, `word ${word % 100}  `.slice(0, 8)),
      basePage(66),
    );
    content(2, page, basePage(66));
    return seal(1, 6);
  },
  "Blocks of a disk": () => {
    content(31, withWord(basePage(111), 0, "superblk"), basePage(111));
    encoder.zero(0);
    return seal(2, 7);
  },
  "Whole pages in zstd, one like the other": () => {
    zstdEncoder.zero(3);
    content(5, noise(1), undefined, zstdEncoder);
    content(6, noise(1), undefined, zstdEncoder);
    return zstdEncoder.seal(0, 14) as Uint8Array;
  },
  "Device state against the base": () =>
    encodeDeviceFrames(core, concatBytes([bytesOf('"changed!"'), noise(2)]), 16, noise(2))[0],
  "Device state": () =>
    encodeDeviceFrames(core, bytesOf('04 00000000 05 "timer" 00000000 00000002 00*3 7e 00000000 00'), 8)[0],
  "A trailer": () => {
    const records = { same: 2, zero: 4, moved: 1, delta: 2, lz4: 0, raw: 1 };
    const dirty = bytesOf("3e 00*7 0c 02");
    return encodeDeltaTrailer(core, { frames: 8, records, dirty }, 8);
  },
  "Digests that differ": () => {
    const known = new Uint8Array(80 * 16);
    const digests = known.slice();
    digests.set(digest(0xaa), 3 * 16);
    digests.set(digest(0xbb), 79 * 16);
    return encodeDigestFrames(core, known, digests)[0];
  },
  "Digests of a disk's blocks": () => {
    const differing = [
      { block: 0, count: 1 },
      { block: 31, count: 1 },
    ];
    const write = (block: number, target: Uint8Array, at: number) => target.set(digest(block + 1), at);
    return [...encodeBlockDigestFrames(core, 2, 2, 32, differing, write)][0];
  },
};

const vectors = vectorsIn("frames.md");

for (const { name, bytes, values } of vectors) {
  t.test(`${name}: the bytes say what the document says`, async (t) => {
    t.strictSame(describeFrame(core, decoder, bytes), values);
    const naive = describeNaively(bytes);
    t.strictSame(naive.lines, values.slice(0, naive.lines.length), "by the naive path");
    if (/ (?:stored|lz4|zstd) /.test(values[0])) t.ok(naive.columns, "its columns are plain");
  });
}

t.test("our encoders give the bytes, apart from columns that they compress", async (t) => {
  let same = 0;
  for (const [name, encode] of Object.entries(encoders)) {
    const wanted = vectors.find((one) => one.name === name)?.bytes as Uint8Array;
    const frame = encode();
    const { codec } = decodeFrameHeader(frame);
    if (codec !== FrameCodec.based) t.strictSame(plainParts(frame), plainParts(wanted), name);
    if (codec === FrameCodec.stored || codec === FrameCodec.based) {
      t.strictSame(frame, wanted, `${name}: byte for byte`);
      same++;
    }
  }
  t.equal(
    same,
    Object.keys(encoders).length - 3,
    "only three are compressed, apart from what stands on a base",
  );
});

function plainParts(frame: Uint8Array) {
  const header = decodeFrameHeader(frame);
  const { kind, region, sequence, records, columnsBytes } = header;
  const whole = frame.slice(frameHeaderBytes + columnsBytes);
  return { kind, region, sequence, records, columns: naiveColumns(frame, header).slice(), whole };
}

t.test("zstd frames decompress the same way by another zstd", async (t) => {
  const withZstd = await loadCore({ initialBytes: 48 << 20, zstd });
  const other = decoderOf(withZstd);
  const inZstd = vectors.filter(({ bytes }) => bytes[5] === FrameCodec.zstd);
  t.ok(inZstd.length > 3);
  for (const { name, bytes, values } of inZstd) {
    t.strictSame(describeFrame(withZstd, other, bytes), values, name);
  }
});

t.test("every kind of record and frame, all codecs and the ways to be refused are there", async (t) => {
  const words = new Set(vectors.flatMap(({ values }) => values.flatMap((line) => line.split(" "))));
  const wanted = [
    "header",
    "pages",
    "device",
    "trailer",
    "digests",
    "stored",
    "same",
    "zero",
    "moved",
    "delta",
  ];
  wanted.push("lz4", "zstd", "based", "raw", "bad-checksum", "bad-version", "bad-value", "truncated");
  t.strictSame(
    wanted.filter((word) => !words.has(word)),
    [],
  );
});
