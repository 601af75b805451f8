/** Holds the naive BLAKE3, LZ4 and apply path against published vectors and against the WASM core. */

import { readFileSync } from "node:fs";
import t from "tap";
import { fromHex, toHex } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { checkFrame, sealFrame } from "../../src/delta/frame.ts";
import { PageDecoder, type RegionExtent } from "../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import { FrameKind, RecordKind } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { naiveApply, naiveCheckFrame } from "../../src/verify/naive-apply.ts";
import { naiveBlake3 } from "../../src/verify/naive-blake3.ts";
import { naiveLz4Decode } from "../../src/verify/naive-lz4.ts";
import {
  baseOf,
  contentOf,
  noisePage,
  type Pages,
  recordsOf,
  textPage,
  withWords,
} from "../delta/pages-twin.ts";
import { noiseFrom, page } from "../store/model-store.ts";

const core = await loadCore({ initialBytes: 48 << 20 });
const regions: readonly RegionExtent[] = [
  { firstPage: 0, pages: 50 },
  { firstPage: 50, pages: 30 },
  { firstPage: 80, pages: 40, isDisk: true },
];
const base: Pages = new Map([
  [1, textPage(1)],
  [2, noisePage(2)],
  [57, noisePage(3)],
  [83, noisePage(4)],
]);
const basePage = (number: number) => contentOf(base, number);
const encoder = new PageEncoder(core);
const decoder = new PageDecoder(core, regions, baseOf(core, base));
const [contentAt, baseAt] = [core.allocate(page), core.allocate(page)];

function encodeContent(number: number, content: Uint8Array, against?: Uint8Array): void {
  core.bytes().set(content, contentAt);
  if (against) core.bytes().set(against, baseAt);
  encoder.content(number, contentAt, against ? baseAt : 0);
}

/** A frame with a record of each kind, whole pages that refer back, and a page that has two records. */
function everyKind(): Uint8Array {
  encoder.same(2);
  encoder.zero(1);
  encoder.moved(9, 57);
  encodeContent(1, withWords(textPage(1), 3, 0), textPage(1));
  encodeContent(2, withWords(noisePage(2), 300, 5), noisePage(2));
  encodeContent(49, textPage(7));
  encodeContent(0, noisePage(8));
  encodeContent(3, withWords(noisePage(8), 5, 1));
  encodeContent(3, textPage(9));
  return encoder.seal(0, 4) as Uint8Array;
}

/** A pages frame of these columns, sealed as a writer would: only its content is wrong. */
function craft(columns: readonly number[], records: number, whole: Uint8Array, region = 0): Uint8Array {
  const start = { kind: FrameKind.pages, region, sequence: 4, records };
  return sealFrame(core, start, Uint8Array.from(columns), whole);
}

function naive(frame: Uint8Array) {
  return naiveApply(frame, regions, basePage);
}

t.test("the published vectors of BLAKE3 hold", async (t) => {
  const document = readFileSync("test/vectors/blake3.md", "utf8");
  const key = new TextEncoder().encode("whats the Elvish word for friend");
  const inputOf = (length: string) => Uint8Array.from({ length: Number(length) }, (_, i) => i % 251);
  const rows = [...document.matchAll(/^\| (\d+) \| ([0-9a-f]{64}) \| ([0-9a-f]{64}) \|$/gm)];
  t.equal(rows.length, 22);
  for (const [, length, plain, keyed] of rows) {
    t.equal(toHex(naiveBlake3(inputOf(length))), plain, `hash of ${length}`);
    t.equal(toHex(naiveBlake3(inputOf(length), key)), keyed, `keyed hash of ${length}`);
  }
  const long = [...document.matchAll(/^\| (\d+) \| ([0-9a-f]{128}) \|$/gm)];
  t.equal(long.length, 3);
  for (const [, length, digest] of long) t.equal(toHex(naiveBlake3(inputOf(length), undefined, 64)), digest);
});

t.test("page digests are those of the core", async (t) => {
  const key = new Uint8Array(32).map((_, i) => i);
  for (const content of [noisePage(5), textPage(5), new Uint8Array(page)]) {
    t.strictSame(naiveBlake3(content, key, 16), core.blake3(content, key, 16));
  }
});

t.test("a bad key and a bad length of output are the caller's mistakes", async (t) => {
  t.throws(() => naiveBlake3(new Uint8Array(3), new Uint8Array(31)), RangeError);
  for (const bytes of [0, 65, 1.5])
    t.throws(() => naiveBlake3(new Uint8Array(3), undefined, bytes), RangeError);
});

t.test("LZ4 blocks of the core decompress, alone and with what stands before them", async (t) => {
  const noise = noiseFrom(9);
  const input = new Uint8Array(20_000).map((_, i) => (i % 700 < 300 ? noise() & 3 : i));
  const block = core.lz4Compress(input) as Uint8Array;
  t.strictSame(naiveLz4Decode(block, input.length), input);
  t.strictSame(
    naiveLz4Decode(fromHex("0f06000050" + "0102030405"), 24, Uint8Array.of(1, 2, 3, 4, 5, 6)),
    referBack(),
  );
});

/** A match of 19 bytes that begins six back and repeats itself, and five literals. */
function referBack(): Uint8Array {
  return Uint8Array.from([...Array.from({ length: 19 }, (_, i) => (i % 6) + 1), 1, 2, 3, 4, 5]);
}

t.test("hostile LZ4 blocks are refused", async (t) => {
  const refused = (hex: string, length: number, code: string) => {
    t.throws(() => naiveLz4Decode(fromHex(hex), length), { name: "FormatError", code }, hex);
  };
  refused("", 0, "truncated");
  refused("30aabb", 3, "truncated");
  refused("10aa01", 9, "truncated");
  refused("f0ffff", 5000, "truncated");
  refused(`1faa0100${"ff".repeat(40)}0050${"00".repeat(5)}`, 4096, "bad-length");
  refused("10aa0000500102030405", 10, "bad-value");
  refused("10aa0200500102030405", 10, "bad-value");
  refused("10aa", 2, "bad-length");
  refused("20aabb", 1, "bad-length");
});

t.test("every kind of record has the content that the core gives it", async (t) => {
  const frame = everyKind();
  const decoded = decoder.decode(frame);
  const wanted = recordsOf(core, decoded);
  t.strictSame(
    new Set(wanted.map(({ kind }) => kind)),
    new Set(Object.values(RecordKind)),
    "all kinds are there",
  );
  const { records, region, sequence } = naive(frame);
  t.strictSame({ region, sequence }, { region: 0, sequence: 4 });
  t.strictSame(
    records.map(({ page, kind, content }) => ({ page, kind, content })),
    wanted,
  );
});

t.test("pages of the second region and blocks of a disk have their own bases", async (t) => {
  encodeContent(7, withWords(noisePage(3), 2, 1), noisePage(3));
  encoder.same(7);
  t.strictSame(contents(encoder.seal(1, 1)), [withWords(noisePage(3), 2, 1), noisePage(3)]);
  encodeContent(3, withWords(noisePage(4), 2, 1), noisePage(4));
  encoder.same(3);
  t.strictSame(contents(encoder.seal(2, 1)), [withWords(noisePage(4), 2, 1), noisePage(4)]);
});

function contents(frame: Uint8Array | null): Uint8Array[] {
  return naive(frame as Uint8Array).records.map(({ content }) => content);
}

t.test("frames of random changes give what the core gives", async (t) => {
  const noise = noiseFrom(77);
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 20; i++) {
      const [kind, number] = [noise() % 5, noise() % 50];
      if (kind === 0) encoder.same(number);
      else if (kind === 1) encoder.zero(number);
      else if (kind === 2) encoder.moved(number, noise() % 80);
      else if (kind === 3) encodeContent(number, noise() & 1 ? noisePage(noise()) : textPage(noise()));
      else encodeContent(number, withWords(basePage(number), 1 + noise(), noise()), basePage(number));
    }
    const frame = encoder.seal(0, round + 1) as Uint8Array;
    const wanted = recordsOf(core, decoder.decode(frame)).map(({ content }) => content);
    t.strictSame(contents(frame), wanted);
  }
});

t.test("a frame that is cut short or too long is refused", async (t) => {
  const frame = everyKind();
  for (let length = 0; length < frame.length; length += length < 60 ? 1 : 97) {
    t.throws(() => naive(frame.subarray(0, length)), { name: "FormatError", code: "truncated" }, `${length}`);
  }
  t.throws(() => naive(Uint8Array.from([...frame, 0])), { code: "bad-length" });
});

t.test("one flipped bit anywhere is found", async (t) => {
  const frame = everyKind();
  for (let bit = 0; bit < frame.length * 8; bit += bit < 48 * 8 ? 1 : 1013) {
    const damaged = frame.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    t.throws(() => naiveCheckFrame(damaged), FormatError, `bit ${bit}`);
  }
});

t.test("wrong columns are refused, as the core's decoder refuses them", async (t) => {
  const none = new Uint8Array(0);
  const counts = (moved: number, whole: number, masks: number, words: number) =>
    [moved, whole, masks, words].flatMap((count) => [count & 255, count >> 8, 0, 0]);
  const pageZero = [0, 0, 0, 0];
  const cases: [string, Uint8Array][] = [
    ["kind 0", craft([...counts(0, 0, 0, 0), 0, ...pageZero], 1, none)],
    ["kind 7", craft([...counts(0, 0, 0, 0), 7, ...pageZero], 1, none)],
    ["page beyond the region", craft([...counts(0, 0, 0, 0), 1, 50, 0, 0, 0], 1, none)],
    ["reference that is missing", craft([...counts(0, 0, 0, 0), 3, ...pageZero], 1, none)],
    ["reference beyond the base", craft([...counts(1, 0, 0, 0), 3, ...pageZero, 80, 0, 0, 0], 1, none)],
    ["moved block of a disk", craft([...counts(1, 0, 0, 0), 3, ...pageZero, 1, 0, 0, 0], 1, none, 2)],
    ["reference that is left over", craft([...counts(1, 0, 0, 0), 1, ...pageZero, 1, 0, 0, 0], 1, none)],
    ["top that is zero", craft([...counts(0, 0, 8, 0), 4, ...pageZero, ...new Array(8).fill(0)], 1, none)],
    ["mask that is zero", craft([...counts(0, 0, 9, 0), 4, ...pageZero, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1, none)],
    ["mask that is missing", craft([...counts(0, 0, 8, 0), 4, ...pageZero, 1, 0, 0, 0, 0, 0, 0, 0], 1, none)],
    [
      "literal that is missing",
      craft([...counts(0, 0, 9, 0), 4, ...pageZero, 1, 0, 0, 0, 0, 0, 0, 0, 1], 1, none),
    ],
    ["mask that is left over", craft([...counts(0, 0, 1, 0), 2, ...pageZero, 9], 1, none)],
    ["bytes after the columns", craft([...counts(0, 0, 0, 0), 2, ...pageZero, 9], 1, none)],
    ["raw page that is short", craft([...counts(0, 1, 0, 0), 6, ...pageZero, 9, 0], 1, new Uint8Array(9))],
    ["lz4 page of 4096 bytes", craft([...counts(0, 1, 0, 0), 5, ...pageZero, 0, 16], 1, noisePage(1))],
    ["lz4 page of no bytes", craft([...counts(0, 1, 0, 0), 5, ...pageZero, 0, 0], 1, none)],
    ["lz4 page that is short", craft([...counts(0, 1, 0, 0), 5, ...pageZero, 2, 0], 1, Uint8Array.of(16, 7))],
    ["whole page that is missing", craft([...counts(0, 1, 0, 0), 6, ...pageZero, 0, 16], 1, none)],
    ["whole page that is left over", craft([...counts(0, 0, 0, 0), 2, ...pageZero], 1, noisePage(1))],
    ["columns that are cut", craft(counts(0, 0, 0, 0).slice(0, 15), 0, none)],
    ["too many whole pages", craft([...counts(0, 65, 0, 0), ...new Array(130).fill(0)], 0, none)],
    ["region that does not exist", craft(counts(0, 0, 0, 0), 0, none, 3)],
  ];
  for (const [name, frame] of cases) {
    t.equal(checkFrame(core, frame).sequence, 4, `${name}: the frame itself is whole`);
    t.throws(() => naive(frame), FormatError, `${name}: here`);
    t.throws(() => decoder.decode(frame), FormatError, `${name}: in the core's decoder`);
  }
  const device = sealFrame(core, { kind: FrameKind.device, region: 0, sequence: 1, records: 0 }, none);
  t.throws(() => naive(device), FormatError, "a frame of another kind");
});
