import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { ChangeEncoder, type Common } from "../../src/delta/change-encoder.ts";
import { FrameSequence } from "../../src/delta/frame-sequence.ts";
import { type DecodedPages, PageDecoder } from "../../src/delta/page-decoder.ts";
import { RecordKind } from "../../src/delta/vocabulary.ts";
import { digestBytes, PageDigests } from "../../src/generation/digest-tree.ts";
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
const geometry = placeRegions([
  { name: "pc.ram", kind: "ram", lengthBytes: 20 * page },
  { name: "rom", kind: "ram", lengthBytes: 5 * page },
]);
const { totalPages } = geometry;
const incoming = core.allocate(page);
const basePage = core.allocate(page);

/** A leg from a source to a peer, each with what it has before the leg. */
class Leg {
  readonly encoder: ChangeEncoder;
  readonly digests: PageDigests;
  readonly kinds: number[] = [];
  readonly peer: Pages;
  readonly own: Pages;
  private readonly decoders: readonly PageDecoder[];

  readonly sequence = new FrameSequence(2);

  constructor(mode: Common["mode"], peer: Pages, own: Pages = peer) {
    this.peer = new Map(peer);
    this.own = new Map(own);
    this.decoders = [peer, own].map(
      (pages) => new PageDecoder(core, geometry.regions, baseOf(core, new Map(pages))),
    );
    const peerDigests = digestsOf(peer);
    this.digests = new PageDigests(core, key, geometry, peerDigests.slice());
    const fixed = new Map(peer);
    const reader = {
      basePage: (number: number) => {
        core.bytes().set(contentOf(fixed, number), basePage);
        return basePage;
      },
    };
    const common: Common =
      mode === "nothing"
        ? { mode }
        : mode === "content"
          ? { mode, reader, digests: peerDigests }
          : { mode, own: digestsOf(own) };
    this.encoder = new ChangeEncoder(
      core,
      this.digests,
      common,
      (frame, said) => this.take(frame, said),
      this.sequence,
    );
  }

  /** As QEMU sends it: zero pages as such, unless it is told otherwise. */
  send(number: number, content: Uint8Array, asZero = content.every((byte) => byte === 0)): void {
    const region = geometry.regions.findLast(({ firstPage }) => number >= firstPage);
    if (region === undefined) throw new RangeError("no such page");
    core.bytes().set(content, incoming);
    if (asZero) this.encoder.zeroPage(region.index, number - region.firstPage);
    else this.encoder.page(region.index, number - region.firstPage, incoming);
  }

  private take(frame: Uint8Array, said: DecodedPages): void {
    for (const [i, pages] of [this.peer, this.own].entries()) {
      const decoded = this.decoders[i].decode(frame);
      // Whoever stores the frame's pages takes them as they were given.
      if (!isDeepStrictEqual(whole(said), whole(decoded))) throw new Error("the frame says something else");
      for (const record of recordsOf(core, decoded)) {
        pages.set(geometry.regions[decoded.region].firstPage + record.page, record.content);
        if (i === 0) this.kinds.push(record.kind);
      }
    }
  }

  release(): void {
    for (const decoder of this.decoders) decoder.release();
    this.digests.release();
  }
}

function whole({ region, sequence, count, pages, kinds, contents }: DecodedPages) {
  const bytes = core.bytes().slice(contents, contents + count * page);
  return {
    region,
    sequence,
    pages: [...pages.subarray(0, count)],
    kinds: [...kinds.subarray(0, count)],
    bytes,
  };
}

function digestsOf(pages: Pages): Uint8Array {
  const all = new Uint8Array(totalPages * digestBytes);
  for (let i = 0; i < totalPages; i++)
    all.set(core.blake3(contentOf(pages, i), key, digestBytes), i * digestBytes);
  return all;
}

function flushed(leg: Leg): number[] {
  leg.encoder.flush();
  return leg.kinds.splice(0);
}

t.test(
  "a page that is known to be the base's needs no look, and a record only if another content was sent",
  async (t) => {
    const leg = new Leg("content", new Map([[3, noisePage(3)]]));
    for (const number of [2, 3]) leg.encoder.samePage(0, number);
    leg.encoder.samePage(1, 4);
    t.strictSame(flushed(leg), []);
    t.equal(leg.encoder.counts.same, 3);
    leg.send(3, noisePage(4));
    t.strictSame(flushed(leg), [RecordKind.raw]);
    leg.encoder.samePage(0, 3);
    leg.encoder.samePage(0, 3);
    t.strictSame(flushed(leg), [RecordKind.same], "once");
    t.strictSame(contentOf(leg.peer, 3), noisePage(3));
    t.ok(leg.digests.equals(3, digestsOf(new Map([[3, noisePage(3)]])), 3 * digestBytes));
    leg.release();
  },
);

t.test("with nothing in common, pages that are not zero are sent once", async (t) => {
  const leg = new Leg("nothing", new Map());
  leg.send(0, zeroes);
  leg.send(1, zeroes, false);
  leg.send(2, textPage(1));
  leg.send(3, withWords(zeroes, 2, 0));
  leg.send(4, noisePage(1));
  leg.send(2, textPage(1));
  t.strictSame(flushed(leg), [RecordKind.lz4, RecordKind.delta, RecordKind.raw]);
  leg.send(2, zeroes);
  leg.send(4, zeroes, false);
  t.strictSame(flushed(leg), [RecordKind.zero, RecordKind.zero], "a page that becomes zero is sent as that");
  t.strictSame(leg.digests.digests, digestsOf(leg.peer));
  t.match(leg.encoder.counts, { zero: 2, lz4: 1, delta: 1, raw: 1 });
});

t.test("with the base's content, equal pages cost nothing and changed ones a delta", async (t) => {
  const base: Pages = new Map([
    [1, noisePage(1)],
    [2, textPage(2)],
    [21, noisePage(4)],
  ]);
  const leg = new Leg("content", base);
  for (let i = 0; i < totalPages; i++) leg.send(i, contentOf(base, i));
  t.strictSame(flushed(leg), []);
  leg.send(1, withWords(noisePage(1), 3, 0));
  leg.send(21, withWords(noisePage(4), 1, 0));
  leg.send(5, noisePage(4));
  leg.send(2, zeroes);
  leg.send(6, withWords(zeroes, 1, 0), false);
  t.strictSame(flushed(leg), [
    RecordKind.delta,
    RecordKind.delta,
    RecordKind.moved,
    RecordKind.zero,
    RecordKind.delta,
  ]);
  t.strictSame(leg.digests.digests, digestsOf(leg.peer));
});

t.test("a page that was sent and has the base's content again is sent as same, once", async (t) => {
  const base: Pages = new Map([[3, noisePage(3)]]);
  const leg = new Leg("content", base);
  leg.send(3, textPage(1));
  leg.send(8, textPage(1));
  flushed(leg);
  leg.send(3, noisePage(3));
  leg.send(3, noisePage(3));
  leg.send(8, zeroes);
  leg.send(8, zeroes, false);
  t.strictSame(flushed(leg), [RecordKind.same, RecordKind.zero]);
  t.strictSame(contentOf(leg.peer, 3), noisePage(3));
  t.strictSame(leg.digests.digests, digestsOf(base));
});

t.test("with digests only, pages go whole, and both sites' copies come out right", async (t) => {
  const peer: Pages = new Map([
    [1, noisePage(1)],
    [2, textPage(2)],
  ]);
  const own: Pages = new Map([
    [1, noisePage(9)],
    [2, textPage(2)],
    [4, textPage(4)],
  ]);
  const leg = new Leg("digests", peer, own);
  const memory: Pages = new Map([
    [1, noisePage(1)],
    [2, textPage(2)],
    [5, withWords(zeroes, 1, 0)],
  ]);
  for (let i = 0; i < totalPages; i++) leg.send(i, contentOf(memory, i));
  t.strictSame(flushed(leg), [RecordKind.raw, RecordKind.zero, RecordKind.lz4]);
  for (let i = 0; i < totalPages; i++) {
    t.strictSame(contentOf(leg.peer, i), contentOf(memory, i), `page ${i} at the peer`);
    t.strictSame(contentOf(leg.own, i), contentOf(memory, i), `page ${i} here`);
  }
});

t.test("frames are numbered from the first number on, without gaps", async (t) => {
  const leg = new Leg("nothing", new Map());
  t.equal(leg.sequence.next, 2);
  leg.send(0, noisePage(1));
  leg.send(20, noisePage(2));
  leg.encoder.flush();
  leg.encoder.flush();
  t.equal(leg.sequence.next, 4, "one frame a region, and none for nothing");
});

const contents = [
  zeroes,
  noisePage(1),
  noisePage(2),
  textPage(3),
  withWords(noisePage(1), 2, 0),
  withWords(zeroes, 1, 3),
];
const anyContent = fc.integer({ min: 0, max: contents.length - 1 }).map((i) => contents[i]);
const anyPage = fc.integer({ min: 0, max: totalPages - 1 });
const anyPages = fc
  .array(fc.tuple(anyPage, anyContent), { maxLength: 20 })
  .map((entries): Pages => new Map(entries));
const anyWrites = fc.array(fc.tuple(anyPage, anyContent, fc.boolean()), { maxLength: 60 });

for (const mode of ["nothing", "content", "digests"] as const) {
  t.test(
    `in mode ${mode}, any run of writes leaves both copies and the digests as the naive twin has them`,
    async () => {
      fc.assert(
        fc.property(anyPages, anyPages, anyWrites, (peer, own, writes) => {
          const before = mode === "nothing" ? new Map() : peer;
          const leg = new Leg(mode, before, mode === "digests" ? own : before);
          const memory: Pages = new Map(before);
          // The first pass of pre-copy sends every page.
          for (let i = 0; i < totalPages; i++) leg.send(i, contentOf(memory, i));
          for (const [number, content, flush] of writes) {
            memory.set(number, content);
            leg.send(number, content);
            if (flush) leg.encoder.flush();
          }
          leg.encoder.flush();
          for (let i = 0; i < totalPages; i++) {
            const expected = Buffer.from(contentOf(memory, i));
            if (!expected.equals(contentOf(leg.peer, i)) || !expected.equals(contentOf(leg.own, i)))
              return false;
          }
          const same = Buffer.from(leg.digests.digests).equals(digestsOf(memory));
          leg.release();
          return same;
        }),
        { numRuns: 40 },
      );
    },
  );
}
