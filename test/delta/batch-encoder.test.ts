/** Batches that are encoded apart, against a change encoder that is given the same pages one after the other. */

import t from "tap";
import { wasmZstd } from "../../cli/zstd.ts";
import { loadCore } from "../../src/core.ts";
import { BatchEncoder, PageWish } from "../../src/delta/batch-encoder.ts";
import { ChangeEncoder } from "../../src/delta/change-encoder.ts";
import { numberFrame } from "../../src/delta/frame.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { frameLimits, RecordKind } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
import { page } from "../store/model-store.ts";
import { baseOf, noisePage, recordsOf, textPage, withWords, zeroes } from "./pages-twin.ts";

const core = await loadCore({ initialBytes: 32 << 20, zstd: await wasmZstd() });
const key = new Uint8Array(32).fill(9);
const maxPages = 96;
const sealAtBytes = 128 * 1024;
const geometry = placeRegions([{ name: "pc.ram", kind: "ram", lengthBytes: 200 * page }]);
const decoder = new PageDecoder(core, geometry.regions, baseOf(core, new Map()));

function batchOf(contents: readonly Uint8Array[], wishes: readonly PageWish[], known?: Uint8Array) {
  const count = contents.length;
  return {
    region: 0,
    count,
    pages: Uint32Array.from(contents, (_, i) => 2 * i + 1),
    wishes: Uint8Array.from(wishes),
    digests: known?.slice() ?? new Uint8Array(count * digestBytes),
    kinds: new Uint8Array(count).fill(255),
  };
}

function put(encoder: BatchEncoder, contents: readonly Uint8Array[]): void {
  for (const [i, content] of contents.entries()) core.bytes().set(content, encoder.contents + i * page);
}

function digestsOf(contents: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(contents.length * digestBytes);
  for (const [i, content] of contents.entries())
    all.set(core.blake3(content, key, digestBytes), i * digestBytes);
  return all;
}

const mixed = Array.from({ length: 90 }, (_, i) =>
  i % 2 === 0 ? noisePage(i) : i % 5 === 1 ? zeroes : i % 5 === 2 ? withWords(zeroes, 3, i) : textPage(i),
);

t.test("its frames are those that a change encoder makes of the same pages", async (t) => {
  const encoder = new BatchEncoder(core, { key, isBaseZero: true, maxPages, sealAtBytes });
  put(encoder, mixed);
  const batch = batchOf(
    mixed,
    mixed.map(() => PageWish.sendIfNew),
    digestsOf(mixed.map(() => zeroes)),
  );
  const frames = encoder.encode(batch);
  const sequence = new FrameSequence(2);
  for (const { frame } of frames) numberFrame(core, frame, sequence.take());
  const wanted: Uint8Array[] = [];
  const twin = new ChangeEncoder(
    core,
    new PageDigests(core, key, geometry),
    { mode: "nothing" },
    (frame) => wanted.push(frame),
    new FrameSequence(2),
  );
  const content = core.allocate(page);
  for (const [i, bytes] of mixed.entries()) {
    core.bytes().set(bytes, content);
    twin.page(0, 2 * i + 1, content);
  }
  twin.flush();
  t.ok(frames.length > 1, "several of them");
  t.strictSame(
    frames.map(({ frame }) => frame),
    wanted,
  );
  t.equal(
    frames.reduce((sum, { records }) => sum + records, 0),
    batch.kinds.filter((kind) => kind !== 0).length,
  );
  t.strictSame(batch.digests, digestsOf(mixed), "digests of what came");
});

t.test("wishes decide: always, if new, as zero", async (t) => {
  const encoder = new BatchEncoder(core, { key, isBaseZero: false, maxPages, sealAtBytes });
  const contents = [textPage(1), textPage(2), textPage(3), textPage(4)];
  put(encoder, contents);
  const wishes = [PageWish.send, PageWish.sendIfNew, PageWish.sendIfNew, PageWish.zero];
  const known = digestsOf([contents[0], contents[1], zeroes, contents[3]]);
  const batch = batchOf(contents, wishes, known);
  const frames = encoder.encode(batch);
  t.strictSame([...batch.kinds], [RecordKind.lz4, 0, RecordKind.lz4, RecordKind.zero]);
  t.strictSame(batch.digests, digestsOf([contents[0], contents[1], contents[2], zeroes]));
  t.equal(frames.length, 1);
  t.throws(() => decoder.decode(frames[0].frame), "without a number it is no frame");
  numberFrame(core, frames[0].frame, 7);
  const decoded = decoder.decode(frames[0].frame);
  t.equal(decoded.sequence, 7);
  t.strictSame(
    recordsOf(core, decoded).map(({ page, content }) => ({ page, content })),
    [
      { page: 1, content: contents[0] },
      { page: 5, content: contents[2] },
      { page: 7, content: zeroes },
    ],
  );
  const none = batchOf(contents, [2, 2, 2, 2], digestsOf(contents));
  put(encoder, contents);
  t.strictSame(encoder.encode(none), [], "nothing new makes no frame");
});

t.test("frames are as the chosen codec makes them, and within their limits", async (t) => {
  const { zstd } = core;
  const choose = () => (plain: Uint8Array) => (zstd as NonNullable<typeof zstd>).compress(plain, 3);
  const encoder = new BatchEncoder(core, { key, isBaseZero: true, maxPages, sealAtBytes, choose });
  const contents = Array.from({ length: maxPages }, (_, i) => noisePage(i));
  put(encoder, contents);
  const frames = encoder.encode(
    batchOf(
      contents,
      contents.map(() => PageWish.send),
    ),
  );
  const found: Uint8Array[] = [];
  for (const [i, { frame, records }] of frames.entries()) {
    t.ok(records <= frameLimits.wholePages);
    numberFrame(core, frame, i + 2);
    found.push(...recordsOf(core, decoder.decode(frame)).map(({ content }) => content));
  }
  t.strictSame(found, contents);
});

t.test("what cannot be encoded is refused", async (t) => {
  const options = { key, isBaseZero: true, maxPages: 2, sealAtBytes };
  t.throws(() => new BatchEncoder(core, { ...options, key: new Uint8Array(31) }), RangeError);
  const three = [zeroes, zeroes, zeroes];
  t.throws(() => new BatchEncoder(core, options).encode(batchOf(three, [1, 1, 1])), RangeError);
});
