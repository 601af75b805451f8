import t from "tap";
import { loadCore } from "../../src/core.ts";
import { DeviceAssembler, encodeDeviceFrames } from "../../src/delta/device-frames.ts";
import { checkFrame, sealFrame } from "../../src/delta/frame.ts";
import { FrameKind, frameLimits } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";
import { noiseFrom } from "../store/model-store.ts";

const core = await loadCore();

t.test("device state of any length comes back, in numbered chunks", async (t) => {
  const chunk = frameLimits.deviceChunkBytes;
  for (const [length, frames] of [
    [1, 1],
    [5000, 1],
    [chunk, 1],
    [chunk + 1, 2],
    [3 * chunk - 1, 3],
  ] as const) {
    const state = new Uint8Array(length).map(noiseFrom(length));
    const made = encodeDeviceFrames(core, state, 17);
    t.strictSame(
      made.map((frame) => checkFrame(core, frame).sequence),
      Array.from({ length: frames }, (_, i) => 17 + i),
    );
    const assembler = new DeviceAssembler(core);
    for (const frame of made) assembler.add(frame);
    t.ok(Buffer.from(assembler.take()).equals(state), `${length} bytes`);
  }
});

t.test("no state, and too much of it, is the caller's mistake", async (t) => {
  t.throws(() => encodeDeviceFrames(core, new Uint8Array(0), 1), RangeError);
  t.throws(() => encodeDeviceFrames(core, new Uint8Array(frameLimits.deviceBytes + 1), 1), RangeError);
});

t.test("frames of other kinds, long chunks and damaged frames are refused", async (t) => {
  const start = { kind: FrameKind.device, region: 0, sequence: 1, records: 0 } as const;
  const assembler = new DeviceAssembler(core);
  t.throws(
    () => assembler.add(sealFrame(core, { ...start, kind: FrameKind.digests }, Uint8Array.of(1))),
    FormatError,
  );
  t.throws(
    () => assembler.add(sealFrame(core, start, new Uint8Array(frameLimits.deviceChunkBytes + 1))),
    FormatError,
  );
  const damaged = sealFrame(core, start, Uint8Array.of(1, 2, 3));
  damaged[damaged.length - 1] ^= 1;
  t.throws(() => assembler.add(damaged), FormatError);
  t.equal(assembler.take().length, 0);
});

t.test("more chunks than one generation may have are refused", async (t) => {
  const chunk = sealFrame(
    core,
    { kind: FrameKind.device, region: 0, sequence: 1, records: 0 },
    new Uint8Array(frameLimits.deviceChunkBytes),
  );
  const assembler = new DeviceAssembler(core);
  for (let i = 0; i < frameLimits.deviceBytes / frameLimits.deviceChunkBytes; i++) assembler.add(chunk);
  t.throws(() => assembler.add(chunk), { code: "bad-length" });
});
