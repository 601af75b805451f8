import fc from "fast-check";
import t from "tap";
import { loadCore } from "../../src/core.ts";
import { place } from "./placing.ts";
import { bitsOf, bytesOfBits, nextTwin } from "./twin/bitmap.ts";

const core = await loadCore();
const { raw } = core;

/** Bitmaps with long runs of equal bits as well as mixed ones, and a number of bits that need not fill the last byte. */
const bitmaps = fc
  .array(fc.oneof(fc.constant(0), fc.constant(255), fc.nat(255)), { minLength: 1, maxLength: 100 })
  .chain((bytes) =>
    fc.record({
      bytes: fc.constant(Uint8Array.from(bytes)),
      bits: fc.integer({ min: (bytes.length - 1) * 8 + 1, max: bytes.length * 8 }),
    }),
  );

t.test("set, clear and test one bit and no other", async (t) => {
  fc.assert(
    fc.property(bitmaps, fc.nat(), ({ bytes, bits }, pick) => {
      const bit = pick % bits;
      const area = place(core, bytes);
      const expected = bitsOf(bytes);
      if (raw.bitmapTest(area.pointer, bit) !== Number(expected[bit])) return false;
      raw.bitmapSet(area.pointer, bit);
      expected[bit] = true;
      const afterSet = bytesOfBits(expected);
      const setRight = area.bytes().every((byte, i) => byte === afterSet[i]);
      raw.bitmapClear(area.pointer, bit);
      expected[bit] = false;
      const afterClear = bytesOfBits(expected);
      const clearRight = area.bytes().every((byte, i) => byte === afterClear[i]);
      const intact = area.intact();
      area.release();
      return setRight && clearRight && intact;
    }),
  );
  t.pass();
});

t.test("a range sets its bits and no other", async (t) => {
  fc.assert(
    fc.property(bitmaps, fc.nat(), fc.nat(), ({ bytes, bits }, a, b) => {
      const from = a % (bits + 1);
      const count = b % (bits - from + 1);
      const area = place(core, bytes);
      raw.bitmapSetRange(area.pointer, from, count);
      const expected = bytesOfBits(bitsOf(bytes).map((bit, i) => bit || (i >= from && i < from + count)));
      const right = area.bytes().every((byte, i) => byte === expected[i]) && area.intact();
      area.release();
      return right;
    }),
  );
  t.pass();
});

t.test(
  "counting and looking for the next bit agree with the twin and ignore bits past the end",
  async (t) => {
    fc.assert(
      fc.property(bitmaps, fc.nat(), ({ bytes, bits }, pick) => {
        const from = pick % (bits + 2);
        const area = place(core, bytes);
        const all = bitsOf(bytes).slice(0, bits);
        const count = raw.bitmapCount(area.pointer, bits);
        const set = raw.bitmapNextSet(area.pointer, bits, from);
        const clear = raw.bitmapNextClear(area.pointer, bits, from);
        area.release();
        const start = Math.min(from, bits);
        return (
          count === all.filter(Boolean).length &&
          set === nextTwin(all, bits, start, true) &&
          clear === nextTwin(all, bits, start, false)
        );
      }),
    );
    t.pass();
  },
);

t.test(
  "listing runs agrees with the twin from any bit and in any portions, and writes no more than asked",
  async (t) => {
    fc.assert(
      fc.property(bitmaps, fc.nat(), fc.integer({ min: 1, max: 5 }), ({ bytes, bits }, pick, max) => {
        const from = pick % (bits + 2);
        const area = place(core, bytes, 5);
        const out = place(core, max * 8);
        const expected: number[] = [];
        const all = bitsOf(bytes).slice(0, bits);
        for (let first = nextTwin(all, bits, Math.min(from, bits), true); first < bits; ) {
          const end = nextTwin(all, bits, first, false);
          expected.push(first, end - first);
          first = nextTwin(all, bits, end, true);
        }
        const found: number[] = [];
        let count: number;
        for (let at = from; ; ) {
          count = raw.bitmapRuns(area.pointer, bits, at, out.pointer, max);
          found.push(...new Uint32Array(out.bytes().buffer, 0, count * 2));
          if (count < max) break;
          at = found.at(-2)! + found.at(-1)!;
        }
        const intact = area.intact() && out.intact();
        area.release();
        out.release();
        return intact && found.length === expected.length && found.every((value, i) => value === expected[i]);
      }),
      { numRuns: 500 },
    );
    const area = place(core, Uint8Array.of(255));
    t.equal(raw.bitmapRuns(area.pointer, 8, 0, area.pointer + 1, 0), 0, "no room, no runs");
    t.ok(area.intact());
    area.release();
  },
);

t.test("or, and, and-not change only the first bitmap", async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(255), (bytes, other) => {
      const second = bytes.map((byte, i) => (byte * 31 + i * other) & 255);
      const operations = [
        [raw.bitmapOr, (a: number, b: number) => a | b],
        [raw.bitmapAnd, (a: number, b: number) => a & b],
        [raw.bitmapAndNot, (a: number, b: number) => a & ~b & 255],
      ] as const;
      return operations.every(([kernel, twin]) => {
        const dst = place(core, bytes);
        const src = place(core, second, 3);
        kernel(dst.pointer, src.pointer, bytes.length);
        const right =
          dst.bytes().every((byte, i) => byte === twin(bytes[i]!, second[i]!)) &&
          src.bytes().every((byte, i) => byte === second[i]) &&
          dst.intact();
        dst.release();
        src.release();
        return right;
      });
    }),
  );
  t.pass();
});

t.test("walking set bits visits each once", async (t) => {
  const bits = 100_003;
  const area = place(core, Math.ceil(bits / 8));
  const wanted = Array.from({ length: 500 }, (_, i) => (i * i * 7) % bits);
  for (const bit of wanted) raw.bitmapSet(area.pointer, bit);
  const found: number[] = [];
  for (let bit = raw.bitmapNextSet(area.pointer, bits, 0); bit < bits; ) {
    found.push(bit);
    bit = raw.bitmapNextSet(area.pointer, bits, bit + 1);
  }
  t.same(
    found,
    [...new Set(wanted)].sort((a, b) => a - b),
  );
  t.equal(raw.bitmapCount(area.pointer, bits), found.length);
});
