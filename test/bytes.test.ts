import t from "tap";
import { ByteReader, bytesEqual, concatBytes, fromHex, toHex } from "../src/bytes.ts";
import { FormatError } from "../src/errors.ts";

t.test("fields are read one after the other, little-endian", async (t) => {
  const reader = new ByteReader(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9).subarray(1));
  t.equal(reader.u8("a"), 1);
  t.equal(reader.u16("b"), 0x0302);
  t.equal(reader.u32("c"), 0x07060504);
  t.strictSame([...reader.take(1, "d")], [8]);
  t.equal(reader.remaining, 1);
  t.equal(reader.at, 8);
});

t.test("a read beyond the end is refused and moves nothing", async (t) => {
  const reader = new ByteReader(Uint8Array.of(1, 2, 3));
  t.throws(() => reader.u32("a length"), { code: "truncated", offset: 0, message: /a length/ });
  t.throws(() => reader.take(4, "data"), FormatError);
  t.equal(reader.u8("a"), 1);
});

t.test("hexadecimal text goes both ways, and other text is refused", async (t) => {
  t.equal(toHex(Uint8Array.of(0, 0x0f, 0xff)), "000fff");
  t.strictSame([...fromHex("000FfF")], [0, 15, 255]);
  for (const text of ["0", "0g", "0x00", "é0"]) t.throws(() => fromHex(text), FormatError, text);
});

t.test("byte arrays are compared and joined", async (t) => {
  t.ok(bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  t.notOk(bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  t.notOk(bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1)));
  t.strictSame([...concatBytes([Uint8Array.of(1), new Uint8Array(0), Uint8Array.of(2, 3)])], [1, 2, 3]);
});
