/** Recognising the end of a stream in its last bytes. */

import t from "tap";
import { FormatError } from "../../src/errors.ts";
import { DeviceTailCollector } from "../../src/qemu-stream/device-tail.ts";
import { defaultStreamLimits, encodeVmDescription } from "../../src/qemu-stream/index.ts";
import { bytesOf, DEVICE_STATE } from "./events.ts";

function collect(chunks: Iterable<Uint8Array>, limits = defaultStreamLimits) {
  const collector = new DeviceTailCollector(limits);
  const tails = [];
  for (const chunk of chunks) tails.push(collector.append(chunk, 0));
  return tails;
}

function tailWith(json: string | Uint8Array): Uint8Array {
  return Buffer.concat([DEVICE_STATE, encodeVmDescription(json)]);
}

t.test("the device state and its description are told apart", async (t) => {
  const [tail] = collect([tailWith('{"a":[{}]}')]);
  t.strictSame(Buffer.from(tail!.deviceState), Buffer.from(DEVICE_STATE));
  t.equal(new TextDecoder().decode(tail!.vmDescription), '{"a":[{}]}');
});

t.test("a description is found whatever bytes its length has", async (t) => {
  const limits = { ...defaultStreamLimits, vmDescriptionBytes: 0x0102_0000 };
  for (const length of [0x02, 0xff, 0x100, 0x101, 0x1_0000, 0x1_0001, 0x1_0100, 0x101_0101]) {
    const json = `{${" ".repeat(length - 2)}}`;
    const [tail] = collect([tailWith(json)], limits);
    t.equal(tail?.vmDescription.length, length);
    t.equal(tail?.deviceState.length, DEVICE_STATE.length);
  }
});

t.test("byte by byte, only the last byte completes a description of nested objects", async (t) => {
  const tails = collect(Array.from(tailWith('{"a":{"b":{"c":{}}},"d":"}"}'), (byte) => Uint8Array.of(byte)));
  t.ok(tails.pop());
  t.ok(tails.every((tail) => tail === undefined));
});

t.test("bytes that are not an end are not taken for one", async (t) => {
  const cases = {
    "a length that is too small": '00 06 00000001 "{}"',
    "a length that is too large": '00 06 00000003 "{}"',
    "no end-of-file byte": '01 06 00000002 "{}"',
    "no description byte": '00 05 00000002 "{}"',
    "no header at all": '"{}"',
    "an array": '00 06 00000002 "[}"',
    "text that is not JSON": '00 06 00000003 "{a}"',
    "bytes that are not UTF-8": '00 06 00000008 7b 22 "a" 22 3a c0 "1}"',
    "a JSON object after other text": '00 06 00000003 " {}"',
  };
  for (const [name, notation] of Object.entries(cases)) {
    t.strictSame(collect([Buffer.concat([DEVICE_STATE, bytesOf(notation)])]), [undefined], name);
  }
});

t.test("an end that a device holds is passed over unless a chunk ends right behind it", async (t) => {
  const planted = bytesOf('04 00000001 03 "spy" 00000000 00000001 00*5 06 00000002 "{}"');
  const rest = Buffer.concat([bytesOf("00 7e 00000001 00"), encodeVmDescription('{"devices":[]}')]);
  const [whole] = collect([Buffer.concat([planted, rest])]);
  t.equal(whole?.deviceState.length, planted.length + 7);
  const [part] = collect([planted]);
  t.equal(part?.deviceState.length, planted.length - 7);
});

t.test("deep nesting is not a way to crash", async (t) => {
  t.strictSame(collect([tailWith(`{"a":${"[".repeat(1_000_000)}}`)]), [undefined]);
});

t.test("more bytes than the limits allow are refused and not kept", async (t) => {
  const limits = { ...defaultStreamLimits, deviceStateBytes: 1_000_000, vmDescriptionBytes: 1000 };
  const collector = new DeviceTailCollector(limits);
  const chunk = new Uint8Array(100_000);
  t.throws(
    () => {
      for (let i = 0; i < 11; i++) collector.append(chunk, i);
    },
    new FormatError(
      "bad-length",
      "Cannot decode the device state with its description: it exceeds 1001005 bytes",
      10,
    ),
  );
  t.equal(collector.lengthBytes, 1_000_000);
});
