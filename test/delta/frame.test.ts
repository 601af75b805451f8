import t from "tap";
import { loadCore } from "../../src/core.ts";
import { checkFrame, decodeFrameHeader, framesOf, plainColumns, sealFrame } from "../../src/delta/frame.ts";
import { FrameCodec, FrameKind, frameHeaderBytes, frameLimits } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";

const core = await loadCore();
const text = new TextEncoder().encode(
  "columns that repeat, columns that repeat, columns that repeat, and so on",
);
const start = { kind: FrameKind.device, region: 0, sequence: 5, records: 0 } as const;

/** Fails the test unless `action` throws FormatError and nothing else. */
function refused(action: () => unknown): string | null {
  try {
    action();
    return "accepted";
  } catch (error) {
    return error instanceof FormatError ? null : `threw ${error}`;
  }
}

t.test("a sealed frame has its header, and its columns come back", async (t) => {
  for (const columns of [new Uint8Array(0), text, new Uint8Array(100_000).fill(3), text.subarray(0, 20)]) {
    const frame = sealFrame(core, start, columns);
    const header = checkFrame(core, frame);
    t.match(header, { ...start, plainBytes: columns.length, payloadBytes: frame.length - frameHeaderBytes });
    t.strictSame([...plainColumns(core, frame, header)], [...columns]);
  }
});

t.test("columns are compressed only when that is shorter", async (t) => {
  t.equal(checkFrame(core, sealFrame(core, start, new Uint8Array(4000))).codec, FrameCodec.lz4);
  t.equal(checkFrame(core, sealFrame(core, start, text.subarray(0, 8))).codec, FrameCodec.stored);
});

t.test("a frame that is truncated anywhere, or longer than it says, is refused", async (t) => {
  const frame = sealFrame(core, start, text);
  for (let length = 0; length < frame.length; length++) {
    const problem = refused(() => checkFrame(core, frame.slice(0, length)));
    if (problem) t.fail(`${length} bytes: ${problem}`);
  }
  t.equal(
    refused(() => checkFrame(core, new Uint8Array([...frame, 0]))),
    null,
  );
});

t.test("every flipped bit is refused with a FormatError", async (t) => {
  const frame = sealFrame(core, start, text);
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const damaged = frame.slice();
    damaged[bit >> 3] ^= 1 << (bit & 7);
    const problem = refused(() => checkFrame(core, damaged));
    if (problem) t.fail(`bit ${bit}: ${problem}`);
  }
  t.pass();
});

t.test("hostile headers are refused before anything is allocated", async (t) => {
  const frame = sealFrame(core, { ...start, kind: FrameKind.pages, records: 1 }, text, new Uint8Array(10));
  const fields: [what: string, at: number, bytes: 1 | 2 | 4, value: number][] = [
    ["magic", 0, 4, 0x12345678],
    ["version", 3, 1, 0x32],
    ["kind 0", 4, 1, 0],
    ["kind 6", 4, 1, 6],
    ["codec 0", 5, 1, 0],
    ["codec 5", 5, 1, 5],
    ["codec based", 5, 1, FrameCodec.based],
    ["codec zstd with bytes after its frame", 5, 1, FrameCodec.zstd],
    ["sequence 0", 8, 4, 0],
    ["payload", 12, 4, 0xffffffff],
    ["columns", 16, 4, 0xffffffff],
    ["plain columns", 20, 4, 0xffffffff],
    ["plain columns just too long", 20, 4, frameLimits.columnsBytes + 1],
    ["records", 24, 4, frameLimits.records + 1],
    ["reserved", 28, 4, 1],
  ];
  const before = core.bytes().length;
  for (const [what, at, bytes, value] of fields) {
    const hostile = frame.slice();
    const view = new DataView(hostile.buffer);
    if (bytes === 1) view.setUint8(at, value);
    else view.setUint32(at, value, true);
    t.throws(() => decodeFrameHeader(hostile), FormatError, what);
  }
  t.equal(core.bytes().length, before, "the core's memory has not grown");
});

t.test(
  "only pages frames may have records and whole pages, and only they and digests a region",
  async (t) => {
    for (const at of [6, 24]) {
      const frame = sealFrame(core, start, text);
      frame[at] = 1;
      t.throws(() => decodeFrameHeader(frame), { code: "bad-value" });
    }
    const digests = sealFrame(core, { ...start, kind: FrameKind.digests, region: 9 }, text);
    t.equal(checkFrame(core, digests).region, 9, "digests may be those of a disk");
    const whole = sealFrame(core, start, text, new Uint8Array(10));
    t.throws(() => decodeFrameHeader(whole), { code: "bad-value" });
  },
);

t.test("another version is told apart from another format", async (t) => {
  const frame = sealFrame(core, start, text);
  frame[3] = 0x32;
  t.throws(() => decodeFrameHeader(frame), { code: "bad-version", message: /version 2/ });
  frame[0] = 0;
  t.throws(() => decodeFrameHeader(frame), { code: "bad-magic" });
});

t.test("a checksum does not save columns that do not decompress to their length", async (t) => {
  const frame = sealFrame(core, start, new Uint8Array(4000));
  new DataView(frame.buffer).setUint32(20, 4001, true);
  t.throws(() => checkFrame(core, frame), { code: "bad-checksum" });
  const header = decodeFrameHeader(frame);
  t.throws(() => plainColumns(core, frame, header), FormatError);
});

t.test("a run of frames is walked one by one, and a cut one is refused", async (t) => {
  const frames = [1, 2, 3].map((sequence) => sealFrame(core, { ...start, sequence }, text));
  const run = new Uint8Array(Buffer.concat(frames));
  t.strictSame(
    [...framesOf(run)].map(({ at, header }) => [at, header.sequence]),
    frames.map((frame, i) => [i * frame.length, i + 1]),
  );
  for (const cut of [1, frameHeaderBytes, run.length - 1]) {
    if (cut % frames[0].length !== 0) t.throws(() => [...framesOf(run.subarray(0, cut))], FormatError);
  }
});
