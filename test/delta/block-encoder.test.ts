import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { BlockEncoder, type GrowingBlockView } from "../../src/delta/block-encoder.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { PageDecoder } from "../../src/delta/page-decoder.ts";
import { noRecords, RecordKind, recordKindNames } from "../../src/delta/vocabulary.ts";
import { digestBytes } from "../../src/generation/digest-tree.ts";
import { frameExtents } from "../../src/generation/disks.ts";
import { placeRegions } from "../../src/generation/geometry.ts";
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

const core = await loadCore({ initialBytes: 32 << 20 });
const key = new Uint8Array(32).fill(5);
const keyPointer = core.allocate(32);
core.bytes().set(key, keyPointer);
const zero = core.blake3(zeroes, key, digestBytes);
const geometry = placeRegions([{ name: "pc.ram", kind: "ram", lengthBytes: 9 * page }]);
const diskBlocks = 700;
const disks = [
  { name: "other", lengthBytes: 3 * page },
  { name: "disk0", lengthBytes: diskBlocks * page },
];
/** Index of disk0 among the regions of frames. */
const region = 2;
const extents = frameExtents(geometry, disks);
const { firstPage } = extents[region];
const incoming = core.allocate(diskBlocks * page);
const basePage = core.allocate(page);

/** Digests of a disk in a map; those that are not in it are of zeroes. */
class View implements GrowingBlockView {
  readonly zero = zero;
  readonly keyPointer = keyPointer;
  readonly digests = new Map<number, Buffer>();

  constructor(pages: Pages) {
    for (const [block, content] of pages) this.digests.set(block, digestOf(content));
  }

  equals(block: number, from: Uint8Array, at: number): boolean {
    return Buffer.from(this.of(block)).equals(from.subarray(at, at + digestBytes));
  }

  set(block: number, from: Uint8Array, at: number): void {
    this.digests.set(block, Buffer.from(from.slice(at, at + digestBytes)));
  }

  of(block: number): Uint8Array {
    return this.digests.get(block) ?? zero;
  }
}

function digestOf(content: Uint8Array): Buffer {
  return Buffer.from(core.blake3(content, key, digestBytes));
}

type Mode = "content" | "zero" | "unknown";

/** A disk on its way from here to a peer, each with what it has before the leg. */
class Leg {
  readonly encoder: BlockEncoder;
  readonly view: View;
  readonly sequence = new FrameSequence(5);
  /** Kinds of records as the sink is told, frame by frame. */
  readonly kinds: number[][] = [];
  /** What the peer makes of the frames. */
  readonly peer: Pages;
  /** Block of each record, in the order sent. */
  readonly sent: number[] = [];
  private readonly decoder: PageDecoder;

  /** In mode `zero` the peer has nothing. */
  constructor(mode: Mode, peer: Pages, own: Pages = peer) {
    const before = mode === "zero" ? new Map<number, Uint8Array>() : peer;
    this.peer = new Map(before);
    this.view = new View(own);
    const fixed: Pages = new Map(before);
    const placed: Pages = new Map([...before].map(([block, content]) => [firstPage + block, content]));
    this.decoder = new PageDecoder(core, extents, baseOf(core, placed));
    const baseBlock = (block: number) => {
      core.bytes().set(contentOf(fixed, block), basePage);
      return basePage;
    };
    this.encoder = new BlockEncoder(core, {
      region,
      own: this.view,
      peer: mode === "zero" ? null : new View(before),
      base: mode === "content" ? { mode, reader: { baseBlock } } : { mode },
      sequence: this.sequence,
      sink: (frame, kinds) => this.take(frame, kinds),
    });
  }

  /** Reads blocks of the running VM's disk, all in one call. */
  send(block: number, ...contents: readonly Uint8Array[]): void {
    for (const [i, content] of contents.entries()) core.bytes().set(content, incoming + i * page);
    this.encoder.blocks(block, contents.length, incoming);
  }

  private take(frame: Uint8Array, kinds: Uint8Array): void {
    this.kinds.push([...kinds]);
    const decoded = this.decoder.decode(frame);
    if (decoded.region !== region) throw new Error(`region ${decoded.region}`);
    for (const [i, record] of recordsOf(core, decoded).entries()) {
      if (record.kind !== kinds[i]) throw new Error("the sink was told other kinds");
      this.peer.set(record.page, record.content);
      this.sent.push(record.page);
    }
  }

  release(): void {
    this.encoder.release();
    this.decoder.release();
  }
}

function flushed(leg: Leg): number[] {
  leg.encoder.flush();
  return leg.kinds.splice(0).flat();
}

t.test("to a peer with nothing, blocks that are not zero are sent once", async (t) => {
  const leg = new Leg("zero", new Map());
  leg.send(0, zeroes, noisePage(1), textPage(1), withWords(zeroes, 2, 0));
  leg.encoder.zeroBlocks(10, 300);
  t.strictSame(flushed(leg), [RecordKind.raw, RecordKind.lz4, RecordKind.delta]);
  t.strictSame(leg.sent, [1, 2, 3]);
  t.match(leg.encoder.counts, { same: 301, zero: 0, raw: 1, lz4: 1, delta: 1 });
  leg.send(0, zeroes, noisePage(1), textPage(1), withWords(zeroes, 2, 0));
  t.strictSame(flushed(leg), [], "a block known to the peer costs no record");
  leg.encoder.zeroBlocks(1, 1);
  leg.send(2, zeroes);
  t.strictSame(flushed(leg), [RecordKind.zero, RecordKind.zero], "what becomes zero is sent as that");
  t.equal(leg.encoder.changedBytes, 5 * page);
  leg.release();
});

t.test("with the base's content, equal blocks cost nothing and changed ones a delta", async (t) => {
  const base: Pages = new Map([
    [1, noisePage(1)],
    [2, textPage(2)],
    [3, noisePage(3)],
  ]);
  const leg = new Leg("content", base);
  leg.send(0, zeroes, noisePage(1), textPage(2), noisePage(3));
  t.strictSame(flushed(leg), []);
  t.equal(leg.encoder.counts.same, 4);
  leg.send(1, withWords(noisePage(1), 3, 0), zeroes, noisePage(4), noisePage(3));
  t.strictSame(
    flushed(leg),
    [RecordKind.delta, RecordKind.zero, RecordKind.raw, RecordKind.raw],
    "a block whose content stands elsewhere is not moved",
  );
  t.strictSame(contentOf(leg.peer, 4), noisePage(3));
  leg.release();
});

t.test("a block that was sent and has the base's content again is sent as same, once", async (t) => {
  const base: Pages = new Map([[3, noisePage(3)]]);
  const leg = new Leg("content", base);
  leg.send(3, textPage(1), textPage(1));
  t.strictSame(flushed(leg), [RecordKind.lz4, RecordKind.lz4]);
  leg.send(3, noisePage(3), zeroes);
  leg.send(3, noisePage(3), zeroes);
  t.strictSame(flushed(leg), [RecordKind.same, RecordKind.zero]);
  t.strictSame(contentOf(leg.peer, 3), noisePage(3));
  t.strictSame(contentOf(leg.peer, 4), zeroes);
  t.equal(leg.encoder.counts.same, 3, "one record, and two that needed none");
  leg.release();
});

t.test("where only the peer's digests are known, blocks go whole", async (t) => {
  const peer: Pages = new Map([
    [1, noisePage(1)],
    [2, textPage(2)],
    [6, noisePage(6)],
  ]);
  const own: Pages = new Map([
    [1, noisePage(9)],
    [2, textPage(2)],
    [4, textPage(4)],
    [6, noisePage(7)],
  ]);
  const leg = new Leg("unknown", peer, own);
  // The VM's disk is what this site has, but for blocks 1 and 5.
  leg.send(1, noisePage(1), textPage(2));
  leg.send(4, textPage(4), withWords(zeroes, 1, 0), noisePage(7));
  t.strictSame(flushed(leg), [RecordKind.raw, RecordKind.lz4, RecordKind.lz4, RecordKind.raw]);
  t.strictSame(leg.sent, [1, 4, 5, 6], "what only one of both has travels");
  for (const [block, content] of [
    [1, noisePage(1)],
    [4, textPage(4)],
    [6, noisePage(7)],
  ] as const) {
    t.strictSame(contentOf(leg.peer, block), content);
    t.ok(digestOf(content).equals(leg.view.of(block)), `digest of block ${block}`);
  }
  leg.release();
});

t.test("what only this site has already is sent to a peer that has nothing", async (t) => {
  const view = new View(new Map([[0, noisePage(1)]]));
  const frames: Uint8Array[] = [];
  const encoder = new BlockEncoder(core, {
    region,
    own: view,
    peer: null,
    base: { mode: "zero" },
    sequence: new FrameSequence(1),
    sink: (frame) => frames.push(frame),
  });
  core.bytes().set(noisePage(1), incoming);
  encoder.blocks(0, 1, incoming);
  encoder.flush();
  t.equal(frames.length, 1);
  t.match(encoder.counts, { raw: 1, same: 0 });
  encoder.release();
});

t.test("frames are numbered without gaps, and none is made of nothing", async (t) => {
  const leg = new Leg("zero", new Map());
  leg.encoder.flush();
  leg.send(0, noisePage(1));
  leg.encoder.flush();
  leg.encoder.flush();
  t.equal(leg.sequence.next, 6);
  leg.send(1, ...Array.from({ length: 200 }, (_, i) => noisePage(i + 10)));
  leg.encoder.flush();
  t.ok(leg.kinds.length >= 4, "a frame is sealed before it is too large");
  t.equal(leg.sequence.next, 5 + leg.kinds.length);
  t.strictSame(leg.sent, [0, ...Array.from({ length: 200 }, (_, i) => i + 1)]);
  t.ok(leg.encoder.frameBytes > 201 * page && leg.encoder.frameBytes < 202 * page + 4000);
  leg.release();
});

t.test("its windows in the core's memory are given back", async (t) => {
  const probe = await loadCore();
  const places = Array.from({ length: 3 }, () => {
    const options = {
      region,
      own: new View(new Map()),
      peer: null,
      base: { mode: "zero" },
      sequence: new FrameSequence(1),
      sink: () => {},
    } as const;
    new BlockEncoder(probe, options).release();
    const place = probe.allocate(page);
    probe.release(place);
    return place;
  });
  t.equal(new Set(places).size, 1);
});

const contents = [
  zeroes,
  noisePage(1),
  noisePage(2),
  textPage(3),
  withWords(noisePage(1), 2, 0),
  withWords(zeroes, 1, 3),
];
/** Few blocks, so that they are written again and again; some runs are longer than a batch. */
const anyBlock = fc.oneof(fc.nat(11), fc.constantFrom(255, 256, 600));
/** Contents by their index: a counterexample must be readable. */
const anyContent = fc.nat(contents.length - 1);
const anyPages = fc.array(fc.tuple(anyBlock, anyContent), { maxLength: 12 });
const pagesOf = (entries: readonly [number, number][]): Pages =>
  new Map(entries.map(([block, index]) => [block, contents[index]]));
const anyWrite = fc.record({
  block: anyBlock,
  content: anyContent,
  /** Blocks that are read together, as a marked range of a bitmap is. */
  read: fc.integer({ min: 1, max: 400 }),
  isHole: fc.boolean(),
  flush: fc.boolean(),
});

for (const mode of ["content", "zero", "unknown"] as const) {
  t.test(`in mode ${mode}, any run of writes leaves the peer, digests and counts right`, async () => {
    fc.assert(
      fc.property(anyPages, anyPages, fc.array(anyWrite, { maxLength: 30 }), (there, here, writes) => {
        const peer = mode === "zero" ? new Map<number, Uint8Array>() : pagesOf(there);
        const own = pagesOf(here);
        const leg = new Leg(mode, peer, own);
        const memory: Pages = new Map(own);
        let asked = 0;
        const read = (block: number, count: number) => {
          const end = Math.min(diskBlocks, block + count);
          const run = Array.from({ length: end - block }, (_, i) => contentOf(memory, block + i));
          asked += run.length;
          if (run.every((content) => content === zeroes)) leg.encoder.zeroBlocks(block, run.length);
          else leg.send(block, ...run);
        };
        // The first round reads at least what peer or own image have.
        for (const block of new Set([...peer.keys(), ...own.keys()])) read(block, 1);
        for (const { block, content, read: count, isHole, flush } of writes) {
          memory.set(block, isHole ? zeroes : contents[content]);
          read(block, count);
          if (flush) leg.encoder.flush();
        }
        leg.encoder.flush();
        const wrong = Array.from({ length: diskBlocks }, (_, block) => block).filter((block) => {
          const expected = contentOf(memory, block);
          const isThere = Buffer.from(expected).equals(contentOf(leg.peer, block));
          return !isThere || (leg.view.digests.has(block) && !digestOf(expected).equals(leg.view.of(block)));
        });
        const kinds = leg.kinds.flat();
        const sent = noRecords();
        for (const kind of kinds) sent[recordKindNames[kind - 1]]++;
        // What needed no record counts as same.
        const expected = { ...sent, same: sent.same + asked - kinds.length };
        const { counts, changedBytes } = leg.encoder;
        leg.release();
        return (
          wrong.length === 0 && isDeepStrictEqual(counts, expected) && changedBytes === kinds.length * page
        );
      }),
      { numRuns: 30 },
    );
  });
}
