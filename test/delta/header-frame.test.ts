import t from "tap";
import { loadCore } from "../../src/core.ts";
import { sealFrame } from "../../src/delta/frame.ts";
import {
  decodeDeltaHeader,
  decodeDeltaTrailer,
  encodeDeltaHeader,
  encodeDeltaTrailer,
} from "../../src/delta/header-frame.ts";
import { FrameKind, noRecords } from "../../src/delta/vocabulary.ts";
import { FormatError } from "../../src/errors.ts";

const core = await loadCore();
const header = { vm: "web1", generation: 4, base: { generation: 3, root: "ab".repeat(32) }, totalPages: 77 };
const trailer = { frames: 9, records: { ...noRecords(), delta: 7 }, dirty: Uint8Array.of(1, 0, 0x80) };
const json = (kind: number, value: unknown) =>
  sealFrame(
    core,
    { kind: kind as 1, region: 0, sequence: 1, records: 0 },
    typeof value === "string"
      ? new TextEncoder().encode(value)
      : new TextEncoder().encode(JSON.stringify(value)),
  );

t.test("header and trailer come back", async (t) => {
  t.strictSame(decodeDeltaHeader(core, encodeDeltaHeader(core, header, 1)), header);
  t.strictSame(decodeDeltaTrailer(core, encodeDeltaTrailer(core, trailer, 9)), trailer);
});

t.test("one is not taken for the other", async (t) => {
  t.throws(() => decodeDeltaTrailer(core, encodeDeltaHeader(core, header, 1)), FormatError);
  t.throws(() => decodeDeltaHeader(core, encodeDeltaTrailer(core, trailer, 9)), FormatError);
});

t.test("fields that are missing or of another type are refused", async (t) => {
  const { base } = header;
  const bad = ["", "nonsense", "null", {}, { ...header, vm: 1 }, { ...header, base: { ...base, root: 1 } }];
  for (const value of [...bad, { ...header, totalPages: 1.5 }, { ...header, base: null }]) {
    t.throws(() => decodeDeltaHeader(core, json(FrameKind.header, value)), FormatError);
  }
  const columns = (length: number, text: string) => {
    const bytes = new Uint8Array(4 + text.length);
    new DataView(bytes.buffer).setUint32(0, length, true);
    bytes.set(new TextEncoder().encode(text), 4);
    return sealFrame(core, { kind: FrameKind.trailer, region: 0, sequence: 1, records: 0 }, bytes);
  };
  t.throws(() => decodeDeltaTrailer(core, columns(0xffffffff, "{}")), FormatError);
  t.throws(() => decodeDeltaTrailer(core, columns(2, "{}")), FormatError);
  t.throws(() => decodeDeltaTrailer(core, columns(2, "{")), FormatError);
  t.throws(() => decodeDeltaTrailer(core, columns(20, '{"frames":3,"records":{}}')), FormatError);
  t.throws(() => decodeDeltaTrailer(core, json(FrameKind.trailer, "ab")), FormatError);
});
