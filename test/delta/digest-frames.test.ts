import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { applyDigestFrame, encodeDigestFrames } from "../../src/delta/digest-frames.ts";
import { sealFrame } from "../../src/delta/frame.ts";
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
