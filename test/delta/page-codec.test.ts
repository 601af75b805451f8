import t from "tap";
import { wasmZstd } from "../../cli/zstd.ts";
import { bytesEqual } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { checkFrame, sealFrame } from "../../src/delta/frame.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { PageEncoder } from "../../src/delta/page-encoder.ts";
import {
  FrameCodec,
  FrameKind,
  frameLimits,
  maxPagesPayloadBytes,
  RecordKind,
} from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { page } from "../store/model-store.ts";
import {
  baseOf,
  contentOf,
  noisePage,
  type Pages,
  recordsOf,
  textPage,
  withWords,
  zeroes,
} from "./pages-twin.ts";

const core = await loadCore({ initialBytes: 48 << 20 });
const zstd = await wasmZstd();
const regions = [
  { firstPage: 0, pages: 5000 },
  { firstPage: 5000, pages: 3000 },
];
const base: Pages = new Map([
  [1, textPage(1)],
  [2, noisePage(2)],
  [5007, noisePage(3)],
]);
const encoder = new PageEncoder(core);
const decoder = new PageDecoder(core, regions, baseOf(core, base));
const [contentAt, baseAt] = [core.allocate(page), core.allocate(page)];

function encodeContent(number: number, content: Uint8Array, against: Uint8Array | null): number {
  core.bytes().set(content, contentAt);
  if (against) core.bytes().set(against, baseAt);
  return encoder.content(number, contentAt, against ? baseAt : 0);
}

function sealed(region = 0, sequence = 1): Uint8Array {
  const frame = encoder.seal(region, sequence);
  if (frame === null) throw new Error("nothing was collected");
  return frame;
}

t.test("nothing collected seals to nothing", async (t) => {
  t.equal(encoder.seal(0, 1), null);
});

t.test("every kind of record comes back with its page and content", async (t) => {
  encoder.same(2);
  encoder.zero(1);
  encoder.moved(9, 5007);
  encodeContent(1, withWords(textPage(1), 3, 0), textPage(1));
  encodeContent(4999, textPage(7), null);
  encodeContent(0, noisePage(8), null);
  const records = recordsOf(core, decoder.decode(sealed()));
  t.strictSame(
    records.map((record) => [record.page, record.kind]),
    [
      [2, RecordKind.same],
      [1, RecordKind.zero],
      [9, RecordKind.moved],
      [1, RecordKind.delta],
      [4999, RecordKind.lz4],
      [0, RecordKind.raw],
    ],
  );
  const expected = [
    noisePage(2),
    zeroes,
    noisePage(3),
    withWords(textPage(1), 3, 0),
    textPage(7),
    noisePage(8),
  ];
  for (const [i, content] of expected.entries()) t.strictSame(records[i].content, content, `record ${i}`);
});

t.test("pages and bases of the second region are counted in it", async (t) => {
  encodeContent(7, withWords(noisePage(3), 2, 1), noisePage(3));
  const decoded = decoder.decode(sealed(1, 12));
  t.match(decoded, { region: 1, sequence: 12, count: 1 });
  t.strictSame(recordsOf(core, decoded)[0].content, withWords(noisePage(3), 2, 1));
});

t.test("a few changed words become a delta, a rewritten page a whole one", async (t) => {
  t.equal(encodeContent(2, withWords(noisePage(2), 1, 0), noisePage(2)), RecordKind.delta);
  t.equal(
    encodeContent(2, withWords(noisePage(2), 400, 0), noisePage(2)),
    RecordKind.delta,
    "noise does not compress",
  );
  t.equal(encodeContent(1, textPage(50), textPage(1)), RecordKind.lz4, "text does");
  t.equal(encodeContent(2, noisePage(60), noisePage(2)), RecordKind.raw);
  const kinds = recordsOf(core, decoder.decode(sealed())).map(({ content }) => content);
  t.strictSame(kinds[1], withWords(noisePage(2), 400, 0));
  t.strictSame(kinds[2], textPage(50));
});

t.test("whole pages refer back to those before them in the frame, also past a rejected one", async (t) => {
  const repeated = noisePage(70);
  t.equal(encodeContent(0, repeated, null), RecordKind.raw);
  t.equal(encodeContent(1, repeated, null), RecordKind.lz4, "it is a copy of the page before");
  encodeContent(2, withWords(noisePage(2), 200, 0), noisePage(2));
  encodeContent(3, textPage(3), null);
  encodeContent(4, withWords(textPage(3), 5, 0), null);
  const contents = recordsOf(core, decoder.decode(sealed())).map(({ content }) => content);
  t.strictSame(contents, [
    repeated,
    repeated,
    withWords(noisePage(2), 200, 0),
    textPage(3),
    withWords(textPage(3), 5, 0),
  ]);
});

t.test("a full frame holds the limits and no more", async (t) => {
  for (let i = 0; i < frameLimits.records; i++) {
    if (encoder.full) t.fail(`full after ${i} records`);
    encoder.zero(i);
  }
  t.ok(encoder.full);
  t.throws(() => encoder.zero(0), RangeError);
  t.equal(decoder.decode(sealed()).count, frameLimits.records);
  for (let i = 0; i < frameLimits.wholePages; i++) {
    if (encoder.full) t.fail(`full after ${i} whole pages`);
    encodeContent(i, noisePage(i + 1), null);
  }
  t.ok(encoder.full);
  const decoded = recordsOf(core, decoder.decode(sealed()));
  t.ok(decoded.every((record) => bytesEqual(record.content, noisePage(record.page + 1))));
});

t.test("columns stay below their limit when every record is a long delta", async (t) => {
  let count = 0;
  while (!encoder.full) {
    encodeContent(count % 5000, withWords(noisePage(2), 400, count), noisePage(2));
    count++;
  }
  t.ok(count > 200);
  const frame = sealed();
  t.ok(checkFrame(core, frame).plainBytes <= frameLimits.columnsBytes);
  t.throws(
    () => new PageDecoder(core, [{ firstPage: 0, pages: 10 }], baseOf(core, base)).decode(frame),
    FormatError,
  );
});

t.test("every flipped bit and every truncation of a pages frame is refused", async (t) => {
  encoder.zero(3);
  encodeContent(1, withWords(textPage(1), 3, 0), textPage(1));
  encodeContent(4, textPage(9), null);
  const frame = sealed();
  const wrong: string[] = [];
  const expectRefusal = (bytes: Uint8Array, what: string) => {
    try {
      decoder.decode(bytes);
      wrong.push(`${what} accepted`);
    } catch (error) {
      if (!(error instanceof FormatError)) wrong.push(`${what}: ${error}`);
    }
  };
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const damaged = frame.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    expectRefusal(damaged, `bit ${bit}`);
  }
  for (let length = 0; length < frame.length; length++)
    expectRefusal(frame.slice(0, length), `${length} bytes`);
  t.strictSame(wrong, []);
});

t.test("columns with a right checksum but a wrong meaning are refused", async (t) => {
  const columns = (counts: number[], rest: number[]) => {
    const bytes = new Uint8Array(16 + rest.length);
    const view = new DataView(bytes.buffer);
    for (const [i, count] of counts.entries()) view.setUint32(4 * i, count, true);
    bytes.set(rest, 16);
    return bytes;
  };
  const pages = { kind: FrameKind.pages, region: 0, sequence: 1, records: 1 } as const;
  const none = [0, 0, 0, 0];
  const at0 = [0, 0, 0, 0];
  const bad: [what: string, frame: Uint8Array][] = [
    ["an unknown kind", sealFrame(core, pages, columns(none, [7, ...at0]))],
    ["kind 0", sealFrame(core, pages, columns(none, [0, ...at0]))],
    ["a page beyond the region", sealFrame(core, pages, columns(none, [2, 0x88, 0x13, 0, 0]))],
    ["a page that wraps around", sealFrame(core, pages, columns(none, [2, 0xff, 0xff, 0xff, 0xff]))],
    ["a region that is not there", sealFrame(core, { ...pages, region: 2 }, columns(none, [2, ...at0]))],
    ["references without end", sealFrame(core, pages, columns([0xffffffff, 0, 0, 0], [3, ...at0]))],
    ["literals without end", sealFrame(core, pages, columns([0, 0, 0, 0xffffffff], [4, ...at0]))],
    ["masks without end", sealFrame(core, pages, columns([0, 0, 0xffffffff, 0], [4, ...at0]))],
    ["too many whole pages", sealFrame(core, pages, columns([0, 65, 0, 0], [6, ...at0]))],
    [
      "a reference beyond the base",
      sealFrame(core, pages, columns([1, 0, 0, 0], [3, ...at0, 0x40, 0x1f, 0, 0])),
    ],
    ["a moved page without a reference", sealFrame(core, pages, columns(none, [3, ...at0]))],
    ["a reference that nobody uses", sealFrame(core, pages, columns([1, 0, 0, 0], [2, ...at0, 0, 0, 0, 0]))],
    ["a delta without a mask", sealFrame(core, pages, columns(none, [4, ...at0]))],
    ["a mask of zero", sealFrame(core, pages, columns([0, 0, 8, 0], [4, ...at0, 0, 0, 0, 0, 0, 0, 0, 0]))],
    ["a whole page without a size", sealFrame(core, pages, columns(none, [6, ...at0]), noisePage(1))],
    [
      "a raw page of another size",
      sealFrame(core, pages, columns([0, 1, 0, 0], [6, ...at0, 5, 0]), noisePage(1).slice(0, 5)),
    ],
    [
      "an lz4 page of 4096 bytes",
      sealFrame(core, pages, columns([0, 1, 0, 0], [5, ...at0, 0, 16]), noisePage(1)),
    ],
    [
      "an lz4 page that is no block",
      sealFrame(core, pages, columns([0, 1, 0, 0], [5, ...at0, 3, 0]), Uint8Array.of(1, 9, 9)),
    ],
    ["whole pages that nobody uses", sealFrame(core, pages, columns(none, [2, ...at0]), noisePage(1))],
    ["bytes left over", sealFrame(core, pages, columns(none, [2, ...at0, 0]))],
    ["no columns at all", sealFrame(core, pages, new Uint8Array(0))],
  ];
  for (const [what, frame] of bad) t.throws(() => decoder.decode(frame), FormatError, what);
  const good = decoder.decode(sealFrame(core, pages, columns(none, [2, ...at0])));
  t.equal(good.count, 1, "and what they are variations of is accepted");
  t.strictSame(contentOf(base, 0), recordsOf(core, good)[0].content);
});

t.test("frames in zstd: every kind of record comes back, and none is lz4", async (t) => {
  for (const withZstd of [core, await loadCore({ initialBytes: 48 << 20, zstd })]) {
    const own = new PageEncoder(core, () => (plain) => zstd.compress(plain, 3));
    const other = new PageDecoder(withZstd, regions, baseOf(withZstd, base));
    const add = (number: number, content: Uint8Array, against: Uint8Array | null) => {
      core.bytes().set(content, contentAt);
      if (against) core.bytes().set(against, baseAt);
      return own.content(number, contentAt, against ? baseAt : 0);
    };
    own.same(2);
    own.zero(1);
    own.moved(9, 5007);
    const contents: [number, Uint8Array, Uint8Array | null][] = [
      [1, withWords(textPage(1), 3, 0), textPage(1)],
      [4999, textPage(7), null],
      [0, noisePage(8), null],
      [3, noisePage(8), null],
      [2, withWords(noisePage(2), 300, 0), noisePage(2)],
      [2, noisePage(9), noisePage(2)],
    ];
    const kinds = contents.map((one) => add(...one));
    const { delta, raw } = RecordKind;
    t.strictSame(kinds, [delta, raw, raw, raw, delta, raw]);
    const frame = own.seal(0, 7) as Uint8Array;
    const header = checkFrame(core, frame);
    t.match(header, { codec: FrameCodec.zstd, records: 9, payloadBytes: header.columnsBytes });
    t.ok(frame.length < 3 * page, "two pages of noise are one, and text is nothing");
    const records = recordsOf(withZstd, other.decode(frame));
    t.strictSame(
      records.slice(3).map((record) => [record.page, record.content]),
      contents.map(([number, content]) => [number, content]),
    );
    t.strictSame(records[2].content, noisePage(3));
    own.release();
  }
});

t.test("each frame asks once what compresses it; what does not get smaller is as it was", async (t) => {
  let asked = 0;
  const own = new PageEncoder(core, () => {
    asked++;
    return asked === 2 ? null : (plain) => zstd.compress(plain, 3);
  });
  const codecs: number[] = [];
  for (const content of [textPage(1), textPage(1), noisePage(1), zeroes]) {
    core.bytes().set(content, contentAt);
    if (content === zeroes) own.zero(5);
    else for (let i = 0; i < 3; i++) own.content(i, contentAt, 0);
    if (content === zeroes) own.zero(6);
    const frame = own.seal(0, 1) as Uint8Array;
    codecs.push(checkFrame(core, frame).codec);
    t.ok(recordsOf(core, decoder.decode(frame)).every((record) => bytesEqual(record.content, content)));
  }
  t.equal(asked, 4);
  const { zstd: inZstd, lz4, stored } = FrameCodec;
  t.ok(codecs[0] === inZstd && codecs[1] !== inZstd && codecs[2] === inZstd, "three pages of noise are one");
  t.ok([lz4, stored].includes(codecs[3] as 1 | 2), "a few records are not worth zstd");
  const never = new PageEncoder(core, () => (plain) => plain);
  core.bytes().set(noisePage(1), contentAt);
  never.content(0, contentAt, 0);
  t.equal(checkFrame(core, never.seal(0, 1) as Uint8Array).codec, stored);
});

t.test("a full frame in zstd holds the limits", async (t) => {
  const own = new PageEncoder(core, () => (plain) => zstd.compress(plain, 1));
  for (let i = 0; !own.full; i++) {
    core.bytes().set(i % 3 === 0 ? textPage(i) : withWords(noisePage(2), 300, i), contentAt);
    core.bytes().set(noisePage(2), baseAt);
    own.content(i, contentAt, baseAt);
  }
  const frame = own.seal(0, 1) as Uint8Array;
  const header = checkFrame(core, frame);
  t.ok(header.plainBytes <= maxPagesPayloadBytes && header.plainBytes > 60 * page);
  t.equal(header.codec, FrameCodec.zstd);
  t.equal(decoder.decode(frame).count, header.records);
});

t.test("a compressor whose frames readers would refuse is an error, not a frame", async (t) => {
  const own = new PageEncoder(core, () => () => Uint8Array.of(1, 2, 3));
  core.bytes().set(textPage(1), contentAt);
  own.content(0, contentAt, 0);
  t.throws(() => own.seal(0, 1), FormatError);
});

t.test("blocks of a disk have a region of their own, but are never moved, nor moved to", async (t) => {
  const withDisk = [...regions, { firstPage: 8000, pages: 100, isDisk: true } as const];
  const content = noisePage(4);
  const disk = new PageDecoder(core, withDisk, baseOf(core, new Map([...base, [8007, content]])));
  encoder.same(7);
  encodeContent(7, withWords(content, 2, 0), content);
  encoder.zero(99);
  encodeContent(1, textPage(5), null);
  const records = recordsOf(core, disk.decode(sealed(2)));
  t.strictSame(
    records.map((record) => [record.page, record.kind]),
    [
      [7, RecordKind.same],
      [7, RecordKind.delta],
      [99, RecordKind.zero],
      [1, RecordKind.lz4],
    ],
  );
  t.strictSame(records[0].content, content);
  t.strictSame(records[1].content, withWords(content, 2, 0));

  encoder.moved(3, 1);
  t.throws(() => disk.decode(sealed(2)), { code: "bad-value", message: /record 0 moves a block of a disk/ });
  encoder.moved(3, 8007);
  t.throws(() => disk.decode(sealed(0)), {
    code: "bad-value",
    message: /refers to page 8007, beyond the base/,
  });
  encoder.zero(100);
  t.throws(() => disk.decode(sealed(2)), { code: "bad-value", message: /its region has 100/ });
  encoder.moved(3, 7999);
  t.equal(disk.decode(sealed(0)).count, 1, "the last page of RAM is no block");
  disk.release();
});
