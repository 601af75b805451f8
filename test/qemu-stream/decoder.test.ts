/** The decoder as a state machine: chunking, truncation, damaged bits, limits, windows. */

import t from "tap";
import { FormatError } from "../../src/errors.ts";
import { MAX_ITEM_BYTES, QemuStreamDecoder } from "../../src/qemu-stream/index.ts";
import {
  bytesOf,
  DESCRIPTION,
  DEVICE_STATE,
  decodeError,
  decodeToLines,
  piecesOf,
  randomIntegers,
  smallStream,
} from "./events.ts";

const stream = smallStream();
const expected = [
  "machine pc-q35-10.0",
  `subsection configuration/uuid 1 ${"ab".repeat(16)}`,
  "command 1",
  "command 2 00000001",
  "begin start 2",
  "block 0 pc.ram 16384",
  "block 1 vga.vram 8192",
  "end start",
  "begin part 2",
  "page 0 0 named 00070e15",
  "zero 0 3 continued",
  "zero 1 0 named",
  "end part",
  "begin part 2",
  "page 1 1 continued 00070e15",
  "end part",
  "command 11",
  "begin end 2",
  "page 0 2 named 00070e15",
  "end end",
  "device-state-begins",
  `device-state ${Buffer.from(DEVICE_STATE).toString("hex")}`,
  'description {"page_size":4096,"devices":[{"name":"timer"},{}]}',
  "end",
];

t.test("a whole stream gives all events in the stream's order", async (t) => {
  const { lines, decoder } = decodeToLines([stream]);
  t.strictSame(lines, expected);
  t.equal(decoder.state, "done");
  t.equal(decoder.position, stream.length);
  decoder.finish();
});

t.test("a stream that arrives byte by byte gives the same events", async (t) => {
  const { lines, decoder } = decodeToLines(Array.from(stream, (byte) => Uint8Array.of(byte)));
  t.strictSame(lines, expected);
  t.equal(decoder.state, "done");
});

t.test("any chunking gives the same events", async (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomIntegers(seed);
    const lengths = Array.from({ length: 4000 }, () => random(seed % 2 ? 6000 : 50));
    t.strictSame(decodeToLines(piecesOf(stream, lengths)).lines, expected, `seed ${seed}`);
  }
});

t.test("a caller's own window gives the same events and always makes progress", async (t) => {
  for (const windowBytes of [MAX_ITEM_BYTES, MAX_ITEM_BYTES + 1, 9000]) {
    let events = 0;
    const decoder = new QemuStreamDecoder({ page: () => events++, zeroPage: () => events++ });
    const window = new Uint8Array(windowBytes);
    let at = 0;
    let kept = 0;
    while (at < stream.length) {
      const added = Math.min(windowBytes - kept, stream.length - at);
      window.set(stream.subarray(at, at + added), kept);
      at += added;
      const consumed = decoder.consume(window, kept + added);
      if (kept + added === windowBytes) t.ok(consumed > 0, "a full window makes progress");
      window.copyWithin(0, consumed, kept + added);
      kept += added - consumed;
    }
    t.equal(decoder.state, "done");
    t.equal(events, 5);
  }
});

t.test("states name where the decoder stands", async (t) => {
  const decoder = new QemuStreamDecoder({});
  const seen = new Set<string>([decoder.state]);
  for (const byte of stream) {
    decoder.push(Uint8Array.of(byte));
    seen.add(decoder.state);
  }
  t.strictSame([...seen], ["header", "sections", "device", "done"]);
});

t.test("a stream cut at any byte is truncated, never complete and never something else", async (t) => {
  for (let length = 0; length < stream.length; length++) {
    const error = decodeError(stream.subarray(0, length));
    if (!(error instanceof FormatError) || error.code !== "truncated") t.fail(`cut at ${length}: ${error}`);
  }
  t.match(decodeError(stream.subarray(0, 100)), { message: /it ends before the list of RAM blocks/ });
});

t.test("a flipped bit anywhere gives events or a FormatError", async (t) => {
  const damaged = stream.slice();
  let refused = 0;
  for (let at = 0; at < stream.length; at++) {
    const isStructure = at < 400 || at > stream.length - 400;
    for (let bit = isStructure ? 0 : at % 8; bit < 8; bit += isStructure ? 1 : 8) {
      damaged[at]! ^= 1 << bit;
      const error = decodeError(damaged);
      damaged[at]! ^= 1 << bit;
      if (error === undefined) continue;
      refused++;
      if (!(error instanceof FormatError)) t.fail(`bit ${bit} of byte ${at}: ${error}`);
    }
  }
  t.ok(refused > 1000, `damage outside of contents is seen (${refused})`);
});

t.test("after an error the same error is thrown again", async (t) => {
  const decoder = new QemuStreamDecoder({});
  t.throws(() => decoder.push(bytesOf('"NOT QEMU"')), { code: "bad-magic", offset: 0 });
  t.throws(() => decoder.push(stream), { code: "bad-magic" });
  t.throws(() => decoder.consume(stream), { code: "bad-magic" });
  t.throws(() => decoder.finish(), { code: "bad-magic" });
});

t.test("an end that a guest planted in a device's state fails the decoding and alters nothing", async (t) => {
  const planted = bytesOf('04 00000001 03 "spy" 00000000 00000001 00*5 06 00000002 "{}"');
  const ram = stream.subarray(0, stream.length - DEVICE_STATE.length - DESCRIPTION.length);
  const { lines, decoder } = decodeToLines([ram]);
  t.equal(lines.at(-1), "end end");
  decoder.push(planted);
  t.equal(decoder.state, "done");
  t.throws(() => decoder.push(bytesOf("00 7e 00000001 00")), { code: "bad-value" });
});

t.test("bytes after the end are refused", async (t) => {
  const { decoder } = decodeToLines([stream]);
  decoder.push(new Uint8Array(0));
  t.throws(() => decoder.push(bytesOf("00")), { code: "bad-value", offset: stream.length });
});

t.test("a length outside of the window is a caller's mistake", async (t) => {
  const decoder = new QemuStreamDecoder({});
  t.throws(() => decoder.consume(new Uint8Array(8), 9), RangeError);
  t.throws(() => decoder.consume(new Uint8Array(8), -1), RangeError);
  t.throws(() => decoder.consume(new Uint8Array(8), 0.5), RangeError);
});

t.test("limits are checked", async (t) => {
  t.match(decodeError(stream, { ramBlocks: 1 }), { code: "bad-length", message: /limit is 1 blocks/ });
  t.match(decodeError(stream, { ramBytes: 24575 }), { code: "bad-length", message: /total of 24576/ });
  t.match(decodeError(stream, { deviceStateBytes: DEVICE_STATE.length - 1 }), { code: "bad-length" });
  t.match(decodeError(stream, { vmDescriptionBytes: 20 }), { code: "bad-length" });
  t.equal(decodeError(stream, { ramBlocks: 2, ramBytes: 24576 }), undefined);
});
