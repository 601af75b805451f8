import fc from "fast-check";
import t from "tap";
import { z } from "zod";
import {
  formatRate,
  formatSize,
  formatTime,
  parseRate,
  parseSize,
  parseTime,
  sizeField,
} from "../../cli/config/units.ts";

t.test("sizes are bytes, with or without a binary unit", async (t) => {
  const sizes = { "0": 0, "512": 512, "3B": 3, "4KiB": 4096, "1.5 MiB": 1572864, " 2GiB ": 2 ** 31 };
  for (const [text, bytes] of Object.entries(sizes)) t.equal(parseSize(text), bytes, text);
  t.equal(parseSize("2TiB"), 2 ** 41);
});

t.test("rates are decimal bits a second", async (t) => {
  const rates = { "100": 100, "64k": 64_000, "100M": 1e8, "2.5G": 2.5e9, "100Mbit": 1e8 };
  for (const [text, bits] of Object.entries(rates)) t.equal(parseRate(text), bits, text);
});

t.test("times are milliseconds and always have a unit", async (t) => {
  const times = { "300ms": 300, "1.5s": 1500, "2m": 120_000, "1h": 3_600_000 };
  for (const [text, ms] of Object.entries(times)) t.equal(parseTime(text), ms, text);
  t.throws(() => parseTime("300"), /Cannot read time "300": write a number with ms, s, m or h/);
});

t.test("what is no size, rate or time is refused, with what is accepted", async (t) => {
  for (const text of ["", "MiB", "-1", "1e9", "1,5MiB", "5MB", "5kib", "5 M i B", "0x10", "9999999999TiB"]) {
    t.throws(() => parseSize(text), {
      name: "RangeError",
      message: /^Cannot read size ".*": write a number/,
    });
  }
  // Names that every object has are no units.
  for (const unit of ["constructor", "toString", "valueOf"]) {
    t.throws(() => parseSize(`5${unit}`), RangeError);
    t.throws(() => parseRate(`5${unit}`), RangeError);
    t.throws(() => parseTime(`5${unit}`), RangeError);
  }
  t.throws(() => parseRate("100MiB"), /such as 100M/);
});

t.test("a field of a file takes a size as text or as a number of bytes", async (t) => {
  t.equal(sizeField.parse("64MiB"), 2 ** 26);
  t.equal(sizeField.parse(4096), 4096);
  const refused = sizeField.safeParse("64MB");
  t.match(refused.error, z.ZodError);
  t.match(refused.error?.issues[0].message, /write a number with KiB, MiB or GiB/);
  for (const value of [true, null, 1.5, [1]]) t.notOk(sizeField.safeParse(value).success, String(value));
});

t.test("sizes, rates and times for people are short", async (t) => {
  t.strictSame([0, 1023, 1024, 1536, 102400, 2 ** 20, 2.5 * 2 ** 30].map(formatSize), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 KiB",
    "100 KiB",
    "1.0 MiB",
    "2.5 GiB",
  ]);
  t.strictSame([0.4, 999, 64_000, 1e8, 1.25e9].map(formatRate), [
    "0 bit/s",
    "999 bit/s",
    "64 kbit/s",
    "100 Mbit/s",
    "1.25 Gbit/s",
  ]);
  t.strictSame([0, 45.4, 1234, 59_000, 60_000, 119_400].map(formatTime), [
    "0 ms",
    "45 ms",
    "1.23 s",
    "59.00 s",
    "1 m 0 s",
    "1 m 59 s",
  ]);
});

t.test("no time for people has sixty seconds, or a thousand milliseconds", async (t) => {
  t.equal(formatTime(119_700), "2 m 0 s");
  t.equal(formatTime(59_999), "1 m 0 s");
  t.equal(formatTime(999.7), "1.00 s");
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e8, noNaN: true }), (ms) => {
      return !/\b60(\.00)? s$|\b1000 ms$/.test(formatTime(ms));
    }),
  );
});
