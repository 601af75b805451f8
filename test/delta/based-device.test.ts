import fc from "fast-check";
import t from "tap";
import { concatBytes } from "../../src/bytes.ts";
import { loadCore } from "../../src/core.ts";
import { decodeBased, encodeBased } from "../../src/delta/based-device.ts";
import { DeviceAssembler, encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { decodeFrameHeader } from "../../src/delta/frame.ts";
import { FrameCodec } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { noise } from "../core/placing.ts";

const core = await loadCore();
const base = noise(100_000, 1, 40);

function assembled(frames: readonly Uint8Array[], from: Uint8Array | null): Uint8Array {
  const assembler = new DeviceAssembler(core, from);
  for (const frame of frames) assembler.add(frame);
  return assembler.take();
}

t.test("a state like the base takes few bytes, also when it was shifted, and comes back", async (t) => {
  const changed = base.slice();
  for (let at = 5; at < changed.length; at += 5000) changed[at] ^= 0xff;
  const states: [what: string, state: Uint8Array, most: number][] = [
    ["equal", base, 700],
    ["changed", changed, 1200],
    ["with something before it", concatBytes([noise(300, 9), base]), 1500],
    ["without its beginning", base.subarray(9000), 1200],
    ["longer", concatBytes([base, new Uint8Array(30_000)]), 1500],
    ["shorter", base.subarray(0, 100), 120],
  ];
  for (const [what, state, most] of states) {
    const frames = encodeDeviceFrames(core, state, 9, base);
    t.equal(decodeFrameHeader(frames[0]).codec, FrameCodec.based, what);
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    t.ok(bytes <= most, `${what}: ${bytes} bytes`);
    t.ok(Buffer.from(assembled(frames, base)).equals(state), what);
  }
});

t.test("states of several frames refer to their own place in the base", async (t) => {
  const large = noise(700_000, 3, 200);
  const state = large.slice();
  for (let at = 0; at < state.length; at += 20_000) state[at] ^= 1;
  const frames = encodeDeviceFrames(core, state, 4, large);
  t.equal(frames.length, 3);
  t.strictSame(
    frames.map((frame) => decodeFrameHeader(frame).sequence),
    [4, 5, 6],
  );
  t.ok(frames.every((frame) => frame.length < 4000));
  t.ok(Buffer.from(assembled(frames, large)).equals(state));
});

t.test("without a likeness the frames are those of a store", async (t) => {
  const other = noise(50_000, 77);
  t.strictSame(encodeDeviceFrames(core, other, 2, base), encodeDeviceFrames(core, other, 2));
  t.strictSame(encodeDeviceFrames(core, other, 2, new Uint8Array(0)), encodeDeviceFrames(core, other, 2));
});

t.test("any two states: what is encoded comes back", async () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 60_000, size: "max" });
  fc.assert(
    fc.property(bytes, bytes, fc.nat(50_000), (one, two, cut) => {
      const state = concatBytes([one.subarray(0, cut % (one.length + 1)), two, one]);
      const columns = encodeBased(core, one, 0, state);
      if (columns === null) return true;
      return Buffer.from(decodeBased(core, one, 0, columns, state.length)).equals(state);
    }),
    { numRuns: 60 },
  );
});

t.test("without the base, on another one and when damaged it is refused, or another state", async (t) => {
  const state = base.slice();
  state[50] ^= 1;
  const [frame] = encodeDeviceFrames(core, state, 1, base);
  t.throws(() => assembled([frame], null), {
    code: "unsupported",
    message: /needs the device state of a base/,
  });
  const columns = encodeBased(core, base, 0, state) as Uint8Array;
  for (const [what, bytes] of [
    ["cut", columns.subarray(0, columns.length - 1)],
    ["with a byte more", concatBytes([columns, Uint8Array.of(0)])],
    ["empty", new Uint8Array(0)],
    ["a piece that is too long", concatBytes([Uint8Array.of(0xff, 0xff), new Uint8Array(70_000)])],
    ["a piece of nothing", Uint8Array.of(0, 0)],
  ] as const) {
    t.throws(() => decodeBased(core, base, 0, bytes, state.length), FormatError, what);
  }
  t.throws(() => decodeBased(core, base.subarray(0, 10), 0, columns, state.length), FormatError);
  const before = core.bytes().length;
  let refused = 0;
  for (let bit = 0; bit < columns.length * 8; bit++) {
    const damaged = columns.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    try {
      if (decodeBased(core, base, 0, damaged, state.length).length !== state.length) t.fail(`bit ${bit}`);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      refused++;
    }
  }
  t.ok(refused > 10);
  t.equal(core.bytes().length, before, "all of the core's memory was given back");
});
