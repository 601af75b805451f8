import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import {
  applyDigestFrame,
  encodeBlockDigestFrames,
  encodeDigestFrames,
  readDigestFrame,
} from "../../src/delta/digest-frames.ts";
import { checkFrame, sealFrame } from "../../src/delta/frame.ts";
import { FrameKind } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { noiseFrom } from "../store/model-store.ts";

const core = await loadCore();

t.test("known digests become the wanted ones, whatever differs", async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 300 }), fc.array(fc.nat(299)), (pages, changed) => {
      const known = new Uint8Array(pages * 16).map(noiseFrom(pages));
      const wanted = known.slice();
      for (const page of changed) if (page < pages) wanted[page * 16 + (page % 16)] ^= 0x40;
      for (const frame of encodeDigestFrames(core, known, wanted)) applyDigestFrame(core, frame, known);
      return Buffer.from(known).equals(wanted);
    }),
  );
});

t.test("more pages than one frame holds are spread over several", async (t) => {
  const known = new Uint8Array(70_000 * 16);
  const wanted = known.slice();
  for (const page of [0, 65_535, 65_536, 69_999]) wanted[page * 16] = 1;
  const frames = encodeDigestFrames(core, known, wanted);
  t.equal(frames.length, 2);
  for (const frame of frames) applyDigestFrame(core, frame, known);
  t.ok(Buffer.from(known).equals(wanted));
  t.throws(() => encodeDigestFrames(core, known, wanted.subarray(16)), RangeError);
});

t.test("frames that do not fit what is here, or do not add up, are refused", async (t) => {
  const columns = (first: number, pages: number, rest: number[]) => {
    const bytes = new Uint8Array(8 + rest.length);
    new DataView(bytes.buffer).setUint32(0, first, true);
    new DataView(bytes.buffer).setUint32(4, pages, true);
    bytes.set(rest, 8);
    return sealFrame(core, { kind: FrameKind.digests, region: 0, sequence: 1, records: 0 }, bytes);
  };
  const digests = new Uint8Array(4 * 16);
  const before = digests.slice();
  const digest = new Array<number>(16).fill(7);
  const bad: [what: string, frame: Uint8Array][] = [
    ["no pages", columns(0, 0, [])],
    ["beyond the end", columns(1, 4, [0])],
    ["far beyond the end", columns(0xffffffff, 0xffffffff, [0])],
    ["a digest is missing", columns(0, 4, [3, ...digest])],
    ["bytes are left over", columns(0, 4, [0, ...digest])],
    ["no bitmap", columns(0, 4, [])],
    [
      "another kind",
      sealFrame(core, { kind: FrameKind.device, region: 0, sequence: 1, records: 0 }, digests),
    ],
  ];
  for (const [what, frame] of bad.filter(([what]) => what !== "a digest is missing")) {
    t.throws(() => applyDigestFrame(core, frame, digests), FormatError, what);
  }
  t.strictSame(digests, before);
  t.throws(() => applyDigestFrame(core, bad[3][1], digests), { code: "truncated" });
});

/** Blocks in ascending order as runs. */
function runsOf(blocks: Iterable<number>): { block: number; count: number }[] {
  const runs: { block: number; count: number }[] = [];
  for (const block of blocks) {
    const last = runs.at(-1);
    if (last && last.block + last.count === block) last.count++;
    else runs.push({ block, count: 1 });
  }
  return runs;
}

/** A digest for each block. */
const digestOf = (block: number) => Buffer.alloc(16, `block ${block} `);
const putDigest = (block: number, target: Uint8Array, at: number) => target.set(digestOf(block), at);

t.test("digests of a disk's blocks come back, for the region and with the numbers asked for", async () => {
  const blocks = 200_000;
  const anyBlock = fc.oneof(
    fc.constantFrom(0, 65_535, 65_536, 131_072, blocks - 1),
    fc.nat(blocks - 1),
    fc.integer({ min: 65_530, max: 65_545 }),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(anyBlock, { maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      (changed, first) => {
        changed.sort((a, b) => a - b);
        const frames = [...encodeBlockDigestFrames(core, 3, first, blocks, runsOf(changed), putDigest)];
        const found: number[] = [];
        for (const [i, frame] of frames.entries()) {
          const { region, sequence } = checkFrame(core, frame);
          if (region !== 3 || sequence !== first + i) return false;
          readDigestFrame(core, frame, blocks, (block, digest) => {
            if (digestOf(block).equals(digest)) found.push(block);
          });
        }
        const ranges = new Set(changed.map((block) => Math.floor(block / 65_536)));
        return frames.length === ranges.size && found.join() === changed.join();
      },
    ),
  );
});

t.test("a long run of blocks is spread over frames, the last range may be short", async (t) => {
  const blocks = 2 ** 32;
  const run = { block: blocks - 66_000, count: 66_000 };
  const frames = [...encodeBlockDigestFrames(core, 1, 1, blocks, [run], putDigest)];
  t.equal(frames.length, 2);
  let expected = run.block;
  let wrong = 0;
  for (const frame of frames) {
    readDigestFrame(core, frame, blocks, (block, digest) => {
      if (block !== expected++ || !digestOf(block).equals(digest)) wrong++;
    });
  }
  t.equal(expected, blocks);
  t.equal(wrong, 0);
  t.strictSame([...encodeBlockDigestFrames(core, 1, 1, blocks, [], putDigest)], [], "nothing differs");
  const [small] = encodeBlockDigestFrames(core, 1, 1, 70_000, [{ block: 69_999, count: 1 }], putDigest);
  t.doesNotThrow(() => readDigestFrame(core, small, 70_000, () => {}));
  t.throws(() => readDigestFrame(core, small, 69_999, () => t.fail("it must not be set")), FormatError);
});
